"""Faults that strike a study: launchers and workers that are killed, hang, or are started twice.

The launcher is the real one; its workers are stand-ins that train nothing, so that a study takes seconds. Any step that
is lost, repeated or done twice at once changes what they leave (see `standin.py`).
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ray_nodes
from patience import wait_for
from stage import Report, Stage, damage
from standin import launch_process, make_plan, snapshot

from mtlab.processes import Process, current_process
from mtlab.runs.lock import parse_holder, read_lock

ROWS: dict[str, dict[str, Any]] = {
    "aaa": {"steps": 24, "pause": 0.02},
    "bbb": {"steps": 9, "pause": 0.02},
    "kid": {"steps": 12, "pause": 0.02, "parent": "bbb"},
}
CLONE_NEWUTS = 0x04000000  #: of unshare(2)


class Study:
    """A study that is launched, injected, and launched again."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.root, self.dice = folder / "runs", dice
        self.plan = make_plan(ROWS)
        self.output: list[str] = []

    def launch(self, **settings: Any) -> subprocess.Popen[str]:
        """Start a launcher."""
        return launch_process(self.root, self.plan, **{"retries": 10, **settings})

    def ended(self, launcher: subprocess.Popen[str]) -> int:
        """Wait for a launcher; remember what it said."""
        self.output.append(launcher.communicate(timeout=240)[0])
        return launcher.returncode

    def wait(self, launcher: subprocess.Popen[str], seconds: float) -> bool:
        """Wait for a random moment; False if the launcher is through by then."""
        try:
            launcher.wait(self.dice.uniform(0.2, seconds))
        except subprocess.TimeoutExpired:
            return True
        return False

    def wait_in_training(self, launcher: subprocess.Popen[str], seconds: float) -> bool:
        """Wait until a run has begun, and for a random moment; False if the launcher is through by then."""
        wait_for(lambda: self.workers() or launcher.poll() is not None)
        return self.wait(launcher, seconds)

    def workers(self) -> list[Process]:
        """Find the processes that hold runs."""
        return [process for process in self.holders() if process.alive()]

    def holders(self) -> list[Process]:
        """Read who holds runs, or has held them."""
        held = [parse_holder(read_lock(path.parent)) for path in sorted((self.root / "cells").glob("*/s*/lock.json"))]
        return [process for process in held if process is not None]

    def compare(self, expected: Mapping[str, bytes], *, injected: bool, explained: bool = True) -> Report:
        """Launch to the end, and compare."""
        code = self.ended(self.launch())
        found = snapshot(self.root)
        lost = sorted(expected.keys() - found.keys())
        wrong = [name for name in expected if name in found and found[name] != expected[name]]
        twice = [path.name for path in self.root.parent.glob("*.alone") if "TWO AT ONCE" in path.read_text()]
        trace = "Traceback" in "".join(self.output)
        note = "" if not (code or lost or wrong or twice or trace) else f"exit {code}, {lost}, {wrong}, {twice}: "
        note += "".join(self.output)[-600:] if note else ""
        return Report(injected, len(lost), len(wrong) + len(twice), explained and code == 0 and not trace, note)


def undisturbed(folder: Path) -> tuple[dict[str, bytes], float]:
    """Launch the study without a fault; return what it leaves, and the seconds that it takes."""
    taken = []
    for name in ("first", "second"):
        place = folder / name
        place.mkdir(parents=True)
        study, started = Study(place, random.Random(0)), time.monotonic()
        assert study.ended(study.launch()) == 0, study.output
        taken.append(time.monotonic() - started)
    return snapshot(study.root), min(taken)  # the fewest, as for a run


def killed(target: str, stage: Stage) -> Report:
    """Kill -9 a launcher, a worker, or both, up to three times, each time followed by another launcher."""
    study, injected = Study(stage.folder, stage.dice), False
    for _ in range(3):
        launcher = study.launch()
        if not study.wait(launcher, 0.8 * stage.study_seconds):
            study.ended(launcher)
            break
        injected = True
        if target != "launcher":
            for process in study.workers()[: 1 if target == "worker" else None]:
                process.kill()
        if target == "worker":
            study.ended(launcher)
            continue
        launcher.send_signal(signal.SIGKILL)
        launcher.communicate()
    return study.compare(stage.study, injected=injected)


def two_at_once(stage: Stage) -> Report:
    """Start two launchers on one study at once; one of them may be killed."""
    study = Study(stage.folder, stage.dice)
    first, second = study.launch(), study.launch()
    if stage.dice.random() < 0.5 and study.wait(first, 0.8 * stage.study_seconds):
        first.send_signal(signal.SIGKILL)
    study.ended(first)
    code = study.ended(second)
    return study.compare(stage.study, injected=True, explained=code == 0)


def hung(stage: Stage) -> Report:
    """A worker stands still (SIGSTOP) at a random moment: stopped at its time limit, told as a timeout, run again."""
    study = Study(stage.folder, stage.dice)
    launcher = study.launch(limit=6.0, grace=0.5)
    stopped = study.workers()[:1] if study.wait_in_training(launcher, 0.6) else []
    for process in stopped:
        os.kill(process.pid, signal.SIGSTOP)
    code = study.ended(launcher)
    told = not stopped or (code == 1 and "timeout" in study.output[-1]) or code == 0
    return study.compare(stage.study, injected=bool(stopped), explained=told)


def no_renaming() -> str:
    """Say why the host's name cannot be changed here, for some processes alone; "" if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root may change the host's name"
    try:
        with own_host_name(random.Random(0)):
            return ""
    except OSError:
        return "the host's name cannot be changed here"


@contextmanager
def own_host_name(dice: random.Random) -> Iterator[Callable[[], None]]:
    """Give this thread, and the processes that it starts, a host name of their own; the function yielded changes it."""
    libc, name = ctypes.CDLL(None, use_errno=True), socket.gethostname()
    current_process()  # remembers the name, as the launchers that are started do
    with open("/proc/thread-self/ns/uts") as before:

        def rename() -> None:
            socket.sethostname(dice.choice(["here", "there", "elsewhere", name]))

        if libc.unshare(CLONE_NEWUTS):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            rename()
            yield rename
        finally:
            libc.setns(before.fileno(), CLONE_NEWUTS)


def host_renamed(stage: Stage) -> Report:
    """The host's name changes: under the launcher, between it and its workers, and before another goes on."""
    study = Study(stage.folder, stage.dice)
    with own_host_name(stage.dice) as rename:
        launcher = study.launch()
        injected = study.wait(launcher, 0.5 * stage.study_seconds)
        rename()
        study.wait(launcher, 0.5 * stage.study_seconds)
        launcher.send_signal(signal.SIGKILL)
        launcher.communicate()
        if stage.dice.random() < 0.5:
            for process in study.holders():
                replace(process, host=current_process().host).kill()
        rename()
        return study.compare(stage.study, injected=injected)


def node_lost(stage: Stage) -> Report:
    """A node of a Ray cluster is gone at a random moment: what ran there is run elsewhere, or by the next launcher."""
    study = Study(stage.folder, stage.dice)
    with ray_nodes.running() as nodes:
        launcher = study.launch(pool=f"ray {nodes.address}", grace=20.0)
        injected = study.wait_in_training(launcher, 3.0)
        nodes.kill()
        time.sleep(stage.dice.uniform(0, 1))
        nodes.add()
        code = study.ended(launcher)
    return study.compare(stage.study, injected=injected, explained=code == 0)


def no_ray() -> str:
    """Say why there is no cluster; "" if there is."""
    return "" if find_spec("ray") is not None else "ray is not installed"


def locks_damaged(stage: Stage) -> Report:
    """Kill -9 everything, and damage every lock that is left."""
    study = Study(stage.folder, stage.dice)
    launcher = study.launch()
    injected = study.wait_in_training(launcher, 0.6)
    launcher.send_signal(signal.SIGKILL)
    launcher.communicate()
    for process in study.workers():
        process.kill()
    locks = list((study.root / "cells").glob("*/s*/lock.json"))
    for lock in locks:
        damage(lock, stage.dice)
    return study.compare(stage.study, injected=injected and bool(locks))
