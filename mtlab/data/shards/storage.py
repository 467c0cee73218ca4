"""Reading byte ranges of a data set's files: from a folder, object storage, a web server or a command's output.

Reads that fail are retried, and over HTTP or from a command those that stall. The last attempt raises an
`UnreadableError` with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mtlab.data.shards.http import HttpStorage
from mtlab.data.shards.pipe import PipeStorage
from mtlab.data.shards.retries import RetryPolicy, retry
from mtlab.errors import UserError


class Storage(Protocol):
    """A location of shards. It can be pickled for another process."""

    @property
    def name(self) -> str:
        """The location as messages show it."""

    def read(self, file: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a file's bytes from `start` to before `stop`; None: to its end.

        Raises:
            FileNotFoundError: there is no such file.
            UnreadableError: it cannot be read, after several attempts.

        """


def open_storage(location: str | Path, retries: RetryPolicy | None = None, *, allow_pipe: bool = False) -> Storage:
    """Open a location of shards.

    Args:
        location: a folder, a URL (`http(s)://`, or any protocol of fsspec such as `s3://`, `gs://`, `hf://`), or
            `pipe:COMMAND` in which {} stands for a file's name.
        retries: timeout and attempts.
        allow_pipe: commands may be run. Only the user may set it, never a file.

    Raises:
        UserError: the folder does not exist, the protocol is unknown or lacks its package, or a command is not allowed.

    """
    retries = retries or RetryPolicy()
    written = str(location)
    if written.startswith("pipe:"):
        if not allow_pipe:
            raise UserError(f"{written!r} runs a command: allow it by --allow-pipe")
        if "{}" not in written:
            raise UserError(
                f"{written!r}: write {{}} where the name of a file goes, as in pipe:ssh host cat /data/{{}}"
            )
        return PipeStorage(written.removeprefix("pipe:"), retries)
    if re.match(r"https?://", written):
        return HttpStorage(written.rstrip("/"), retries)
    if re.match(r"[a-z][a-z0-9+.-]+:", written):
        _require_protocol(written)
        return FsspecStorage(written.rstrip("/"), retries)
    folder = Path(written).expanduser().absolute()
    if not folder.is_dir():
        raise UserError("no such folder of shards", file=folder)
    return FsspecStorage(str(folder), retries)


def _require_protocol(url: str) -> None:
    """Refuse a URL that fsspec cannot open; its error names the package that is missing."""
    import fsspec

    try:
        if "://" not in url:
            raise ValueError("no URL")
        fsspec.get_filesystem_class(url.partition("://")[0])
    except ValueError:
        raise UserError(
            f"{url!r}: shards are read from folders, http(s)://, s3://, gs://, hf:// and other protocols of fsspec, or "
            "by pipe:COMMAND"
        ) from None
    except ImportError as error:
        raise UserError(f"{url!r} needs another package: {error}") from None


@dataclass(frozen=True)
class FsspecStorage:
    """A folder on this machine, on a network disk or in object storage, read by fsspec."""

    url: str  #: absolute path, or PROTOCOL://…
    retries: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def name(self) -> str:
        """Path or URL."""
        return self.url

    def read(self, file: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a byte range of a file; a part of a file that was there before may come back, and is waited for."""
        url = f"{self.url}/{file}"
        return retry(lambda: _read(url, start, stop), url, self.retries, wait_for_missing=stop is not None)


def _read(url: str, start: int, stop: int | None) -> bytes:
    import fsspec

    # A local path may hold "::", by which fsspec chains URLs. File systems are cached by fsspec for each process.
    filesystem, path = (fsspec.filesystem("file"), url) if url.startswith("/") else fsspec.url_to_fs(url)
    bounds: dict[str, Any] = {"start": start or None, "end": stop} if start or stop is not None else {}
    try:
        data = bytes(filesystem.cat_file(path, **bounds))
    except (OSError, EOFError):
        raise
    except Exception as error:  # clients of object storage have exceptions of their own
        raise OSError(f"{type(error).__name__}: {error}") from error
    if stop is not None and len(data) != stop - start:
        raise UserError(f"ends at byte {start + len(data):,}, {stop:,} were expected: it is cut off", file=url)
    return data
