"""Files that can only be read from their start on: what a command prints, or a server without ranges sends.

A stream that was opened once is kept, so that reading pieces in ascending order passes over a file once.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mtlab.data.shards.storage import RetryPolicy, retry

KEPT = 80  #: streams open at a time; the one that was used longest ago is closed
PIECE = 2**20


class Stream(ABC):
    """Bytes that come one after the other."""

    @abstractmethod
    def read(self, size: int) -> bytes:
        """Read up to so many bytes; none: it has ended.

        Raises:
            OSError: no byte came in time, or the source failed.

        """

    @abstractmethod
    def close(self) -> None:
        """Stop what sends."""


@dataclass
class Ahead:
    """Streams that were begun, each at the byte up to which it has been read."""

    streams: list[tuple[str, int, Stream]] = field(default_factory=list)  #: the latest used one last
    process: int = field(default_factory=os.getpid)  #: that opened them

    def take(self, file: str, start: int, stop: int | None) -> bytes | None:
        """Read a piece from a stream that is not yet past it; None: there is none."""
        if self.process != os.getpid():  # a forked copy: its streams are another process's
            self.streams, self.process = [], os.getpid()
        fitting = [held for held in self.streams if held[0] == file and held[1] <= start]
        if not fitting:
            return None
        held = max(fitting, key=lambda each: each[1])
        self.streams.remove(held)
        return self._read(file, held[2], held[1], start, stop)

    def start(self, file: str, stream: Stream, start: int, stop: int | None) -> bytes:
        """Read a piece from a new stream."""
        return self._read(file, stream, 0, start, stop)

    def _read(self, file: str, stream: Stream, at: int, start: int, stop: int | None) -> bytes:
        try:
            while at < start:
                skipped = len(stream.read(min(PIECE, start - at)))
                if not skipped:
                    raise EOFError(f"ends at byte {at:,}, before {start:,}")
                at += skipped
            pieces = []
            while stop is None or at < stop:
                piece = stream.read(PIECE if stop is None else min(PIECE, stop - at))
                if not piece and stop is not None:
                    raise EOFError(f"ends at byte {at:,}, {stop:,} were expected")
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
        except BaseException:
            stream.close()
            raise
        self._keep(file, at, stream, ended=stop is None)
        return b"".join(pieces)

    def _keep(self, file: str, at: int, stream: Stream, *, ended: bool) -> None:
        if ended:
            stream.close()
            return
        self.streams.append((file, at, stream))
        while len(self.streams) > KEPT:
            self.streams.pop(0)[2].close()

    def __reduce__(self) -> Any:
        return Ahead, ()  # another process begins streams of its own

    def __del__(self) -> None:
        if self.process == os.getpid():
            for _, _, stream in self.streams:
                stream.close()


@dataclass(frozen=True)
class Piped:
    """What a command prints for each file."""

    command: str  #: run by the shell; {} stands for the file's name
    patience: RetryPolicy = field(default_factory=RetryPolicy)
    _ahead: Ahead = field(default_factory=Ahead, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The command."""
        return f"pipe:{self.command}"

    def read(self, file: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a piece of what is printed."""
        return retry(lambda: self._piece(file, start, stop), f"{self.name} ({file})", self.patience)

    def _piece(self, file: str, start: int, stop: int | None) -> bytes:
        held = self._ahead.take(file, start, stop)
        if held is not None:
            return held
        return self._ahead.start(
            file, _Printed(self.command.replace("{}", shlex.quote(file)), self.patience), start, stop
        )


class _Printed(Stream):
    """What a running command prints."""

    def __init__(self, command: str, patience: RetryPolicy) -> None:
        self._patience = patience
        # not a pipe: one that nobody reads would fill, and stop the command
        self._told = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the command
        self._process = subprocess.Popen(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._told,
            bufsize=0,
            start_new_session=True,  # so that the shell's children can be stopped with it
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(self._out, selectors.EVENT_READ)

    def read(self, size: int) -> bytes:
        """Read what was printed; wait for it, but not for ever."""
        if not self._waiting.select(self._patience.seconds):
            raise TimeoutError
        data = os.read(self._out.fileno(), size)
        if not data and (code := self._process.wait(self._patience.seconds)) != 0:
            self._told.seek(0)
            told = self._told.read(500).decode(errors="replace").strip()
            raise OSError(f"the command ended with code {code}{f': {told}' if told else ''}")
        return data

    def close(self) -> None:
        """Stop the command."""
        self._waiting.close()
        self._out.close()
        self._told.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM if self._process.poll() is None else signal.SIGKILL)
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
