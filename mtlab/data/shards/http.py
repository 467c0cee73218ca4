"""Shards on a web server, read by ranges of bytes where the server has them, else from each file's start on."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from mtlab.data.shards.pipe import Ahead, Stream
from mtlab.data.shards.storage import RetryPolicy, retry


@dataclass(frozen=True)
class Web:
    """A folder on a web server."""

    url: str
    patience: RetryPolicy = field(default_factory=RetryPolicy)
    _ahead: Ahead = field(default_factory=Ahead, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Its address."""
        return self.url

    def read(self, file: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a piece of a file."""
        address = f"{self.url}/{quote(file)}"
        return retry(
            lambda: self._piece(file, address, start, stop), address, self.patience, missing_too=stop is not None
        )

    def _piece(self, file: str, address: str, start: int, stop: int | None) -> bytes:
        held = self._ahead.take(file, start, stop)
        if held is not None:
            return held
        answer = self._asked(address, start, stop)
        if answer.status == http.client.PARTIAL_CONTENT or (start == 0 and stop is None):
            with answer:
                return _whole(answer, None if stop is None else stop - start)
        # The server gives the whole file, whatever it is asked: go on from here when the next piece is wanted.
        return self._ahead.start(file, _Answer(answer), start, stop)

    def _asked(self, address: str, start: int, stop: int | None) -> Any:
        ranged = {} if start == 0 and stop is None else {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        request = urllib.request.Request(address, headers={"User-Agent": "mtlab", **ranged})
        try:
            return urllib.request.urlopen(request, timeout=self.patience.seconds)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 410):
                raise FileNotFoundError(2, f"the server has no such file (HTTP {error.code})", address) from None
            raise OSError(f"the server answers HTTP {error.code} ({error.reason})") from None
        except http.client.HTTPException as error:
            raise OSError(f"the server's answer makes no sense: {type(error).__name__}") from None
        except urllib.error.URLError as error:
            raise (error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason))) from None


def _whole(answer: Any, size: int | None) -> bytes:
    try:
        data: bytes = answer.read()
    except http.client.HTTPException as error:
        raise EOFError(f"the connection was closed early: {type(error).__name__}") from None
    if size is not None and len(data) != size:
        raise EOFError(f"{len(data):,} bytes came, {size:,} were asked for")
    return data


@dataclass
class _Answer(Stream):
    """A whole file, as it comes from the server."""

    answer: Any

    def read(self, size: int) -> bytes:
        """Read some more."""
        try:
            data: bytes = self.answer.read(size)
        except http.client.HTTPException as error:
            raise EOFError(f"the connection was closed early: {type(error).__name__}") from None
        return data

    def close(self) -> None:
        """Close the connection."""
        self.answer.close()
