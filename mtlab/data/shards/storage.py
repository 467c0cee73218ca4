"""Where shards lie: a folder, a web server, or behind a command. All give pieces of files, or one clear error.

What stalls or disappears is asked for again a few times; then a `UnreadableError` says what was tried: nothing hangs.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from mtlab.errors import UserError

T = TypeVar("T")


class UnreadableError(UserError):
    """A file of a data set cannot be read any more, after several attempts."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait, and how often to try."""

    seconds: float = 30.0  #: without a byte, after which an attempt has failed
    attempts: int = 4
    pause: float = 0.5  #: seconds before the second attempt; doubled for each further one


class Storage(Protocol):
    """A place where shards lie. It can be sent to another process."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    def read(self, file: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a file's bytes from `start` to before `stop`; None: to its end.

        Raises:
            FileNotFoundError: there is no such file.
            LostError: it cannot be read, after several attempts.

        """


def open_storage(location: str | Path, patience: RetryPolicy | None = None, *, allow_pipe: bool = False) -> Storage:
    """Open the place that a user names.

    Args:
        location: a folder, `http://…` or `https://…`, or `pipe:COMMAND` in which {} stands for a file's name.
        patience: how long to wait for what is elsewhere.
        allow_pipe: commands may be run: never by what a file says, only if the user at the keyboard says so.

    Raises:
        UserError: it is none of these, or a command that was not allowed.

    """
    patience = patience or RetryPolicy()
    written = str(location)
    if written.startswith("pipe:"):
        from mtlab.data.shards.pipe import Piped

        if not allow_pipe:
            raise UserError(f"{written!r} runs a command: allow it by --allow-pipe")
        if "{}" not in written:
            raise UserError(
                f"{written!r}: write {{}} where the name of a file goes, as in pipe:ssh host cat /data/{{}}"
            )
        return Piped(written.removeprefix("pipe:"), patience)
    if re.match(r"https?://", written):
        from mtlab.data.shards.http import Web

        return Web(written.rstrip("/"), patience)
    if re.match(r"[a-z][a-z0-9+.-]+:", written):
        raise UserError(f"{written!r}: shards are read from folders, http://, https://, or by pipe:COMMAND")
    return LocalStorage(Path(written).expanduser().absolute(), patience)


@dataclass(frozen=True)
class LocalStorage:
    """A folder on this machine, or on a network disk."""

    path: Path
    patience: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def read(self, file: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a piece of a file; a network disk that hiccups is asked again."""
        if start == 0 and stop is None and not self.path.is_dir():
            raise UserError("no such folder of shards", file=self.path)
        path = self.path / file
        return retry(lambda: _read(path, start, stop), str(path), self.patience, missing_too=stop is not None)


def _read(path: Path, start: int, stop: int | None) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        stop = os.fstat(descriptor).st_size if stop is None else stop
        pieces = []
        while start < stop:
            piece = os.pread(descriptor, min(stop - start, 2**24), start)
            if not piece:
                raise UserError(f"ends at byte {start:,}, {stop:,} were expected: it is cut off", file=path)
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def retry(attempt: Callable[[], T], what: str, patience: RetryPolicy, *, missing_too: bool = False) -> T:
    """Try several times.

    Args:
        attempt: what may fail.
        what: is read, for errors.
        patience: how often to try.
        missing_too: a file that is not there was there before: it may come back.

    Raises:
        FileNotFoundError: it is not there.
        LostError: it failed each time; tells the last reason.

    """
    for number in range(1, patience.attempts + 1):
        last = number == patience.attempts
        try:
            return attempt()
        except FileNotFoundError:
            if last or not missing_too:
                raise
        except (OSError, EOFError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, TimeoutError):
                reason = f"nothing came for {patience.seconds:g} seconds"
            if last:
                raise UnreadableError(f"cannot be read, {number} times: {reason}", file=what) from None
        time.sleep(patience.pause * 2 ** (number - 1))
    raise AssertionError("the last attempt returns or raises")
