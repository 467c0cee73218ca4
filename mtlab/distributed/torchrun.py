"""One run in several processes of this host, `mtlab train RUN_DIR --processes N`: torchrun with our exit codes.

It starts the workers, passes signals on to them, and when one ends in failure it ends the others.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mtlab.processes import EXIT_PEER_LOST, LAUNCHER, module_command

if TYPE_CHECKING:
    from collections.abc import Iterator

GRACE = 50  #: seconds that workers have to write their checkpoint; the launcher waits longer
POLL = 1.0  #: seconds between checks that the launcher lives


def launch_processes(run_dir: Path, processes: int, *, plugins: bool = True) -> int:
    """Train one run in several processes of this host.

    Args:
        run_dir: the run's folder.
        processes: how many, at least 2.
        plugins: may the modules that its study names be imported?

    Returns:
        The exit code, as of `mtlab.training.worker.train`; 128 + n where signal n ended a worker.

    """
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(GRACE))
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the workers report what went wrong
    worker = module_command("mtlab", "train", str(run_dir), *([] if plugins else ["--no-plugins"]))
    with tempfile.TemporaryDirectory(prefix="mtlab-torchrun-") as scratch, stop_without_launcher():
        options = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(processes)]
        try:
            run(parse_args([*options, "--log-dir", scratch, "--no-python", *worker]))
        except ChildFailedError as error:
            return choose_exit_code({rank: failure.exitcode for rank, failure in error.failures.items()})
        except SignalException as error:
            return 128 + int(error.sigval)
    return 0


def choose_exit_code(codes: Mapping[int, int]) -> int:
    """Choose the exit code of the worker that ended first: the others ended because of it.

    Args:
        codes: rank → exit code, −n where signal n ended it.

    """
    consequences = (EXIT_PEER_LOST, -signal.SIGTERM)
    first = next((code for code in codes.values() if code not in consequences), next(iter(codes.values())))
    return 128 - first if first < 0 else first


@contextmanager
def stop_without_launcher() -> Iterator[None]:
    """End this process by SIGTERM when the launcher that started it is gone."""
    launcher = os.environ.get(LAUNCHER)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL):
            if os.getppid() != int(launcher or 0):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=watch, name="launcher", daemon=True)
    if launcher is not None:
        thread.start()
    try:
        yield
    finally:
        done.set()
