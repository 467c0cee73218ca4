"""Shards on a web server, by byte ranges where the server supports them, else read forwards.

Not by fsspec, whose `cat_file` does not look at the status code: a server without ranges answers with the whole file,
and that would be taken for the range.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from mtlab.data.shards.forward_streams import ForwardStream, OpenStreams
from mtlab.data.shards.retries import RetryPolicy, retry


@dataclass(frozen=True)
class HttpStorage:
    """A folder on a web server."""

    url: str
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    _open: OpenStreams = field(default_factory=OpenStreams, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Its URL."""
        return self.url

    def read(self, file: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a byte range of a file."""
        url = f"{self.url}/{quote(file)}"
        return retry(lambda: self._read(file, url, start, stop), url, self.retries, wait_for_missing=stop is not None)

    def _read(self, file: str, url: str, start: int, stop: int | None) -> bytes:
        data = self._open.read(file, start, stop)
        if data is not None:
            return data
        response = self._request(url, start, stop)
        if response.status == http.client.PARTIAL_CONTENT or (start == 0 and stop is None):
            with response:
                return _read_all(response, None if stop is None else stop - start)
        # The server ignores ranges: keep the connection, and read on from here for the next range.
        return self._open.read_new(file, _ResponseStream(response), start, stop)

    def _request(self, url: str, start: int, stop: int | None) -> Any:
        ranged = {} if start == 0 and stop is None else {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        request = urllib.request.Request(url, headers={"User-Agent": "mtlab", **ranged})
        try:
            return urllib.request.urlopen(request, timeout=self.retries.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 410):
                raise FileNotFoundError(2, f"the server has no such file (HTTP {error.code})", url) from None
            raise OSError(f"the server answers HTTP {error.code} ({error.reason})") from None
        except http.client.HTTPException as error:
            raise OSError(f"the server's answer is malformed: {type(error).__name__}") from None
        except urllib.error.URLError as error:
            raise (error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason))) from None


def _read_all(response: Any, size: int | None) -> bytes:
    try:
        data: bytes = response.read()
    except http.client.HTTPException as error:
        raise EOFError(f"the connection was closed early: {type(error).__name__}") from None
    if size is not None and len(data) != size:
        raise EOFError(f"{len(data):,} bytes came, {size:,} were requested")
    return data


@dataclass
class _ResponseStream(ForwardStream):
    """The body of a response."""

    response: Any

    def read(self, size: int) -> bytes:
        """Read on."""
        try:
            data: bytes = self.response.read(size)
        except http.client.HTTPException as error:
            raise EOFError(f"the connection was closed early: {type(error).__name__}") from None
        return data

    def close(self) -> None:
        """Close the connection."""
        self.response.close()
