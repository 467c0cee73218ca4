"""Shards that a shell command prints, such as `pipe:ssh host cat /data/{}`."""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field

from mtlab.data.shards.forward_streams import ForwardStream, OpenStreams
from mtlab.data.shards.retries import RetryPolicy, retry


@dataclass(frozen=True)
class PipeStorage:
    """The output of a command for each file."""

    command: str  #: run by the shell; {} stands for the file's name
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    _open: OpenStreams = field(default_factory=OpenStreams, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The command."""
        return f"pipe:{self.command}"

    def read(self, file: str, start: int = 0, stop: int | None = None) -> bytes:
        """Read a byte range of the command's output for a file."""
        return retry(lambda: self._read(file, start, stop), f"{self.name} ({file})", self.retries)

    def _read(self, file: str, start: int, stop: int | None) -> bytes:
        data = self._open.read(file, start, stop)
        if data is not None:
            return data
        stream = _CommandOutput(self.command.replace("{}", shlex.quote(file)), self.retries.timeout)
        return self._open.read_new(file, stream, start, stop)


class _CommandOutput(ForwardStream):
    """The standard output of a running command."""

    def __init__(self, command: str, timeout: float) -> None:
        self._timeout = timeout
        # not a pipe: one that nobody reads would fill, and stop the command
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the command
        self._process = subprocess.Popen(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            start_new_session=True,  # so that the shell's children can be stopped with it
        )
        assert self._process.stdout is not None
        self._stdout = self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)

    def read(self, size: int) -> bytes:
        """Read output, waiting for it at most as long as the timeout."""
        if not self._selector.select(self._timeout):
            raise TimeoutError
        data = os.read(self._stdout.fileno(), size)
        if data:
            return data
        try:
            code = self._process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            raise OSError("the command closed its output and does not end") from None
        if code != 0:
            self._stderr.seek(0)
            message = self._stderr.read(500).decode(errors="replace").strip()
            raise OSError(f"the command ended with code {code}{f': {message}' if message else ''}")
        return b""

    def close(self) -> None:
        """Stop the command and its children."""
        self._selector.close()
        self._stdout.close()
        self._stderr.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM if self._process.poll() is None else signal.SIGKILL)
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
