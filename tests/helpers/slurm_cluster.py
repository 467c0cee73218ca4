"""A real Slurm cluster of one node: in a temporary folder, on ports of its own, gone with the tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd")
CPUS, MEMORY = 4, 4000  #: that the node claims to have; memory in MiB


def programs() -> dict[str, str] | None:
    """Find the daemons; None where one of them is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    found = {name: shutil.which(name, path=path) for name in PROGRAMS}
    return None if None in found.values() else {name: where for name, where in found.items() if where is not None}


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _configuration(folder: Path) -> str:
    """Write what a cluster of this one machine needs: two partitions, the second of which pre-empts the first."""
    host, (controller, node) = socket.gethostname().partition(".")[0], _free_ports(2)
    return f"""
ClusterName=mtlab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PreemptExemptTime=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={MEMORY}
PartitionName=normal Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=cancelled Nodes={host} PriorityTier=1 PreemptMode=CANCEL
PartitionName=urgent Nodes={host} PriorityTier=9 PreemptMode=OFF
"""


class Cluster:
    """A cluster of this one machine, and the commands that its users have."""

    def __init__(self, folder: Path, found: Mapping[str, str]) -> None:
        self.folder = folder
        self.found = found
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        """Start the daemons, and wait until the node is idle."""
        for name in ("state", "spool", "munge"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(_configuration(self.folder))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o600)
        places = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        files = [f"--{option}={munge / name}" for option, name in places.items()]
        self._daemon("munged", "--foreground", "--force", *files)
        self._wait((munge / "socket").exists, "munged")
        self._daemon("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        self._daemon("slurmd", "-D", "-f", str(self.folder / "slurm.conf"))
        self._wait(lambda: self.command("sinfo", "-h", "-o", "%T", check=False).startswith("idle"), "the node")

    def stop(self) -> None:
        """Stop them, jobs included."""
        with suppress(subprocess.SubprocessError):
            self.command("scancel", "--me", check=False)
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def command(self, *words: str, check: bool = True) -> str:
        """Run one of Slurm's commands; return what it prints."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def _daemon(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("wb") as out:
            daemon = subprocess.Popen(
                [self.found[name], *words],
                stdout=out,
                stderr=out,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        self.daemons.append(daemon)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.out"))
                raise AssertionError(f"{what} did not come up:\n{logs}")
            time.sleep(0.1)


@contextmanager
def running() -> Iterator[Cluster]:
    """Run a cluster."""
    found = programs()
    assert found is not None
    folder = Path(tempfile.mkdtemp(prefix="mtlab-slurm-"))
    folder.chmod(0o755)
    cluster = Cluster(folder, found)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def running_cluster() -> Iterator[Cluster]:
    """Run a cluster for all tests of a module."""
    if programs() is None:
        pytest.skip("no Slurm is installed (Debian: slurm-wlm, munge)")
    with running() as made:
        yield made


@pytest.fixture
def cluster(running_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Give the cluster, and make it that of all programs that a test starts."""
    for name, value in running_cluster.environment.items():
        monkeypatch.setenv(name, value)
    return running_cluster
