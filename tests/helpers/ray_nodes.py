"""A real Ray cluster of two nodes on this machine, without dashboard and statistics of use, gone with the tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

CPUS, MEMORY = 1, 2**30  #: of each node; memory in bytes
LOCK = Path(tempfile.gettempdir()) / "mtlab-ray.lock"  #: one cluster at a time: starting one takes all cores
TRIES = 3  #: Ray gives a node 30 seconds to start, and a busy machine may take longer
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
}


class Nodes:
    """A cluster whose second node can be killed and replaced."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.address: str = cluster.address
        self.second: Any = None

    def add(self) -> None:
        """Add the second node."""
        self.second = _try(lambda: self.cluster.add_node(num_cpus=CPUS, memory=MEMORY))

    def is_on_second(self, pid: int) -> bool:
        """Does a process run on the second node?"""
        (raylet,) = self.second.all_processes["raylet"]
        with suppress(psutil.NoSuchProcess, IndexError):  # psutil raises the second for one that is just ending
            return raylet.process.pid in [parent.pid for parent in psutil.Process(pid).parents()]
        return False

    def kill(self) -> None:
        """Kill the second node, as a power cut would."""
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = None


def _try(start: Callable[[], Any]) -> Any:
    for left in reversed(range(TRIES)):
        try:
            return start()
        except Exception as error:  # Ray raises no other
            if not left or "timed out" not in str(error):
                raise
    return None


@contextmanager
def running() -> Iterator[Nodes]:
    """Run a cluster of two nodes, once no other test does."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _running() as nodes:
            yield nodes


@contextmanager
def _running() -> Iterator[Nodes]:
    handler, before = signal.getsignal(signal.SIGTERM), {name: os.environ.get(name) for name in QUIET}
    os.environ.update(QUIET)
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": CPUS, "memory": MEMORY, "include_dashboard": False, "include_log_monitor": False}
    cluster = _try(lambda: Cluster(initialize_head=True, head_node_args=head))
    folder = Path(cluster.head_node.get_session_dir_path())
    try:
        nodes = Nodes(cluster)
        nodes.add()
        yield nodes
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, handler)  # Ray has set its own
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
