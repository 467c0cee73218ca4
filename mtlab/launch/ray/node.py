"""What runs on a node of a Ray cluster: an actor that starts the worker process of one run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtlab.launch.workers import TORCHRUN
from mtlab.processes import LAUNCHER

PAUSE = 5.0  #: seconds in which Ray, which has killed an actor's child processes, ends the actor


class RunActor:
    """An actor that executes one attempt at a run, in the resources that Ray has reserved for it.

    The worker is a process of its own: signals reach it, and it asks every second whether this one still lives.
    """

    process: subprocess.Popen[bytes] | None = None

    def start(self, worker: Sequence[str], run: str, variables: Mapping[str, str]) -> dict[str, Any]:
        """Start the worker, once; return the node's host and the worker's pid.

        Args:
            worker: its command line.
            run: the run directory, to whose `log.txt` its output is appended.
            variables: environment variables beside those of the node.

        Raises:
            FileNotFoundError: this node sees no such run directory, or lacks the worker's program.

        """
        host = socket.gethostname()
        if self.process is not None:  # asked again, as the first answer was lost
            return {"node": host, "pid": self.process.pid}
        if not Path(run).is_dir():
            raise FileNotFoundError(f"node {host} does not see {run}: the store must lie where all nodes see it")
        own = {name: value for name, value in os.environ.items() if name not in TORCHRUN}
        with (Path(run) / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                worker,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**own, **variables, LAUNCHER: str(os.getpid())},
                start_new_session=True,
            )
        return {"node": host, "pid": self.process.pid}

    def wait(self) -> int:
        """Wait for the worker's end; return its exit code.

        Where a node fails, Ray kills the child processes of its actors and then the actors: a worker's SIGKILL is only
        told by an actor that lives on, so that otherwise the launcher hears of the node.
        """
        assert self.process is not None
        code = self.process.wait()
        if code == -signal.SIGKILL:
            time.sleep(PAUSE)
        return code

    def stop(self, force: bool) -> None:
        """Send SIGTERM, or SIGKILL, to the worker's process group."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL if force else signal.SIGTERM)
