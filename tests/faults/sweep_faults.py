"""Faults that strike a sweep's database. Its runs are imagined, see `imagined.py`; launcher and server are real."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import postgres_server
from imagined import Launcher, Opened, write_hunt
from patience import wait_for
from stage import Report, Stage

TRIALS = 3


def no_database() -> str:
    """Say why there is no server to be killed; "" if there is."""
    return "" if postgres_server.programs() is not None else "no PostgreSQL server is installed"


def database_dies(stage: Stage) -> Report:
    """Kill -9 every process of the server at a random moment of a sweep; start it again, and the sweep."""
    with postgres_server.running() as made:
        path = write_hunt(stage.folder, made.url, TRIALS)
        root = stage.folder / "sweep"
        launcher = Launcher(path, root, pause=0.1)
        wait_for(lambda: launcher.said("begun") >= 1, 240)
        time.sleep(stage.dice.uniform(0, 3))
        first = int((made.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(first, signal.SIGSTOP)  # or it would start others in the place of those that are killed
        killed = [first, *children(first)]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        code = launcher.wait()
        said = "".join(launcher.lines)
        told = code == 0 or "the same command goes on once it is back" in said
        wait_for(lambda: all(not Path(f"/proc/{pid}").exists() or _is_zombie(pid) for pid in killed), 30)
        # A process that its parent has not taken notice of yet looks alive to a new server.
        for lock in (made.folder / "data" / "postmaster.pid", *made.folder.glob(".s.PGSQL.*")):
            lock.unlink(missing_ok=True)
        made.start()
        again = Launcher(path, root)
        ended = again.wait()
        searches = [search.study.get_trials(deepcopy=False) for search in Opened(path, root).searches]
        numbers = [[trial.number for trial in trials] for trials in searches]
        states = {trial.state.name for trials in searches for trial in trials}
        lost = sum(TRIALS - len(set(each)) for each in numbers)
        wrong = sum(len(each) - TRIALS for each in numbers) + len(states - {"COMPLETE", "PRUNED"})
        note = "" if told and not lost and not wrong and not ended else f"{code}, {ended}, {numbers}, {states}: "
        note += (said + "".join(again.lines))[-600:] if note else ""
        return Report(code != 0, lost, wrong, told and ended == 0, note)


def children(pid: int) -> list[int]:
    """List the children of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in listed.split()]


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
