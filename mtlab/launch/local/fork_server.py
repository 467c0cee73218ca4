"""A fork server: a process that has imported torch and mtlab once, and forks a worker for each run.

Importing torch and its optimisers takes longer than a hundred steps of a small model. A forked worker begins where
these imports have ended, and is otherwise like one that was started: a process in a session of its own, with its own
pid, environment, log and exit code. The server has imported only what starts no threads, and it never touches a GPU.

It ends when its launcher does, since the socket between them closes, and its workers end when it does: they look
whether their parent still runs, see `RunLock`. Where it cannot be started, or has died, workers are started without it;
so they are once a source file of mtlab has changed, since a worker imports its manager or task after it was forked.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtlab.launch.exit_status import ExitStatus
from mtlab.launch.workers import open_log
from mtlab.processes import LAUNCHER, module_command, running_process

COMMAND = "fork-workers"  #: of the command line, hidden
PATIENCE = 60.0  #: seconds until a worker has been forked, the server's imports included
POLL = 0.2  #: seconds between looks at workers whose server has died
ORPHANED = ExitStatus(None, "killed", "the fork server, which had started the worker, was ended")


# The server's side


def serve(channel: socket.socket) -> Path | None:
    """Fork a worker for every request that comes through a socket, and tell how it ended.

    Args:
        channel: to the launcher; requests and answers are lines of JSON.

    Returns:
        In a worker: its run directory. In the server: None, once the launcher has gone.

    Raises:
        RuntimeError: a library has started a thread: a fork would lack it.
        OSError: this system has no descriptors of processes.

    """
    os.close(os.pidfd_open(os.getpid()))  # where there is none, nothing is forked
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        raise RuntimeError(f"{len(threads)} threads run here: no worker can be forked")
    workers: dict[int, int] = {}  # pidfd → pid
    unread = b""
    with selectors.DefaultSelector() as selector, channel:
        selector.register(channel, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in workers:
                    selector.unregister(key.fd)
                    pid = workers.pop(key.fd)
                    os.close(key.fd)
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    channel.sendall(json.dumps({"ended": pid, "code": code}).encode() + b"\n")
                    continue
                received = channel.recv(2**16)
                if not received:
                    return None
                *lines, unread = (unread + received).split(b"\n")
                for line in lines:
                    request = json.loads(line)
                    try:
                        pid = _fork(request["variables"])
                    except OSError:  # too many processes
                        channel.sendall(json.dumps({"run": request["run"], "started": None}).encode() + b"\n")
                        continue
                    if pid == 0:
                        for descriptor in workers:
                            os.close(descriptor)
                        return _become_worker(request)
                    descriptor = os.pidfd_open(pid)
                    workers[descriptor] = pid
                    selector.register(descriptor, selectors.EVENT_READ)
                    channel.sendall(json.dumps({"run": request["run"], "started": pid}).encode() + b"\n")


def _fork(variables: Mapping[str, str]) -> int:
    """Fork; return the child's pid, once it leads its session, or 0 in the child, whose environment is `variables`."""
    server = os.getpid()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.environ.clear()
        os.environ.update({**variables, LAUNCHER: str(server)})
    os.close(writing)
    if pid:
        os.read(reading, 1)  # nothing comes: it returns when the child has closed its end
    os.close(reading)
    return pid


def _become_worker(request: Mapping[str, Any]) -> Path:
    """Write what this process prints to the run's log from here on."""
    run = Path(request["run"])
    log = open_log(run)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log, stream.fileno())
    os.close(log)
    sys.argv[1:] = ["train", str(run)]
    return run


# The launcher's side


class ForkServer:
    """A fork server as its launcher sees it; its process starts with the first worker.

    Args:
        variables: the environment in which it imports numerical libraries.

    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._failed = False
        self._sources: Mapping[Path, object] = {}
        self._forking: dict[str, asyncio.Future[ForkedWorker | None]] = {}  #: by run directory
        self._workers: dict[int, ForkedWorker] = {}  #: by pid, those that run

    async def fork(self, run: Path, variables: Mapping[str, str]) -> ForkedWorker | None:
        """Fork the worker of a run; None if the server cannot, for whatever reason.

        Args:
            run: the run directory, whose log can be written.
            variables: the worker's environment.

        """
        forked: asyncio.Future[ForkedWorker | None] = asyncio.get_running_loop().create_future()
        self._forking[str(run)] = forked
        try:
            self._sources = self._sources or _source_files()
            if self._failed or self._sources != _source_files():
                return None
            async with asyncio.timeout(PATIENCE):
                if self._writer is None:
                    self._writer = await self._start()
                self._writer.write(json.dumps({"run": str(run), "variables": dict(variables)}).encode() + b"\n")
                await self._writer.drain()
                return await forked
        except (OSError, TimeoutError):
            self._failed = True
            if not self._workers:
                self._kill()
            return None
        finally:
            del self._forking[str(run)]

    async def close(self) -> None:
        """End the server, which has no workers any more."""
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self._process.wait()
        self._kill()
        if self._reading is not None:
            self._reading.cancel()

    async def _start(self) -> asyncio.StreamWriter:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *module_command("mtlab", COMMAND, str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=dict(self.variables),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        self._reading = asyncio.create_task(self._read(reader))
        return writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Take the server's answers until it ends; then wait for the ends of its workers."""
        with suppress(OSError):  # a reset is an end
            while line := await reader.readline():
                answer = json.loads(line)
                if "started" in answer:
                    pid, forked = answer["started"], self._forking.get(answer["run"])
                    if pid is not None:
                        self._workers[pid] = ForkedWorker(pid)
                    if forked is not None and not forked.done():
                        forked.set_result(self._workers.get(pid))
                else:
                    self._workers.pop(answer["ended"]).end(ExitStatus(answer["code"]))
        self._failed = True
        for forked in self._forking.values():
            if not forked.done():
                forked.set_exception(ConnectionResetError())
        while self._workers:
            for worker in [each for each in self._workers.values() if not each.alive()]:
                self._workers.pop(worker.pid).end(ORPHANED)
            await asyncio.sleep(POLL)

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()


def _source_files() -> Mapping[Path, object]:
    """Return size and time of change of each source file of mtlab; hidden files are an editor's locks.

    Raises:
        OSError: a file or folder vanishes meanwhile: they are being changed.

    """
    sources = Path(__file__).parents[2].rglob("[!.]*.py")
    return {path: (found.st_size, found.st_mtime_ns) for path in sources for found in [path.stat()]}


class ForkedWorker:
    """The worker process of a run, a child of the fork server; an `Attempt`."""

    pending = False

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._identity = running_process(pid)
        self._asked = False  #: was it asked to stop? A second SIGTERM would kill it at its checkpoint
        self._ended: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()

    @property
    def details(self) -> Mapping[str, Any]:
        """Its pid."""
        return {"pid": self.pid}

    def alive(self) -> bool:
        """Return whether it still runs."""
        return bool(self._identity.alive())

    def end(self, status: ExitStatus) -> None:
        """Take note of how it has ended."""
        self._ended.set_result(status)

    async def wait(self) -> ExitStatus:
        """Wait for its end."""
        return await self._ended

    def stop(self, *, force: bool = False) -> None:
        """Send SIGTERM once, or SIGKILL, to its process group."""
        if not self._ended.done() and (force or not self._asked):
            self._asked = True
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL if force else signal.SIGTERM)
