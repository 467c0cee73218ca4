"""Files that can only be read forwards: a command's output, or a web server without byte ranges.

An opened stream is kept, so that reading ranges in ascending order passes over a file once.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

MAX_OPEN = 80  #: streams kept open; the least recently used is closed
READ_SIZE = 2**20


class ForwardStream(ABC):
    """A stream of bytes without seeking."""

    @abstractmethod
    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; none: the stream has ended.

        Raises:
            OSError: no byte came in time, or the source failed.

        """

    @abstractmethod
    def close(self) -> None:
        """Stop the source."""


@dataclass
class OpenStreams:
    """Streams that were opened, each with its position."""

    streams: list[tuple[str, int, ForwardStream]] = field(default_factory=list)  #: most recently used last
    process: int = field(default_factory=os.getpid)  #: that opened them
    lock: threading.Lock = field(default_factory=threading.Lock)  #: training and validation read in two threads

    def read(self, file: str, start: int, stop: int | None) -> bytes | None:
        """Read a range from an open stream that is not past it; None: there is none."""
        if self.process != os.getpid():  # after a fork, the streams belong to the parent
            self.streams, self.process, self.lock = [], os.getpid(), threading.Lock()
        with self.lock:
            fitting = [each for each in self.streams if each[0] == file and each[1] <= start]
            if not fitting:
                return None
            nearest = max(fitting, key=lambda each: each[1])
            self.streams.remove(nearest)
        return self._read(file, nearest[2], nearest[1], start, stop)

    def read_new(self, file: str, stream: ForwardStream, start: int, stop: int | None) -> bytes:
        """Read a range from a stream that was just opened."""
        return self._read(file, stream, 0, start, stop)

    def _read(self, file: str, stream: ForwardStream, position: int, start: int, stop: int | None) -> bytes:
        try:
            while position < start:
                skipped = len(stream.read(min(READ_SIZE, start - position)))
                if not skipped:
                    raise EOFError(f"ends at byte {position:,}, before {start:,}")
                position += skipped
            pieces = []
            while stop is None or position < stop:
                piece = stream.read(READ_SIZE if stop is None else min(READ_SIZE, stop - position))
                if not piece and stop is not None:
                    raise EOFError(f"ends at byte {position:,}, {stop:,} were expected")
                if not piece:
                    break
                pieces.append(piece)
                position += len(piece)
        except BaseException:
            stream.close()
            raise
        if stop is None:
            stream.close()
        else:
            with self.lock:
                self.streams.append((file, position, stream))
                unused = [self.streams.pop(0)[2] for _ in range(len(self.streams) - MAX_OPEN)]
            for each in unused:
                each.close()
        return b"".join(pieces)

    def __reduce__(self) -> Any:
        return OpenStreams, ()  # another process opens its own

    def __del__(self) -> None:
        if self.process == os.getpid():
            for _, _, stream in self.streams:
                stream.close()
