"""A launcher in the background: started in a session of its own, found again by what it has logged, and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO

from mtlab.errors import UserError
from mtlab.files import read_jsonl
from mtlab.launch.slurm.job import read_job
from mtlab.launch.slurm.queue import cancel, query_jobs
from mtlab.processes import Process, module_command
from mtlab.runs.store import Store, final_name, is_sweep

LOG = "detached.log"  #: in the study's folder: what the launcher in the background prints
POLL = 0.2  #: seconds


@dataclass(frozen=True)
class Launchers:
    """The launchers of a study or sweep that have not ended."""

    here: tuple[Process, ...]  #: they run on this machine
    elsewhere: tuple[Process, ...]  #: on another host: whether they run cannot be known


def start_detached(words: Sequence[str], store: Store, study: str) -> subprocess.Popen[bytes]:
    """Start `mtlab WORDS`, which launches a study, in a session of its own, so that it outlives the terminal.

    Args:
        words: the command line, without `mtlab`.
        store: the run store.
        study: its name.

    Returns:
        The process, once it launches runs or has ended; what it prints is added to `LOG`.

    """
    log = store.study(study) / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:  # that of a launcher that still runs is gone on with
        process = _spawn(words, output)
    while process.poll() is None and process.pid not in {each.pid for each in find_launchers(store, study).here}:
        time.sleep(POLL)
    return process


def _spawn(words: Sequence[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        module_command("mtlab", *words),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def find_launchers(store: Store, study: str) -> Launchers:
    """Find the launchers of a study or sweep that take signals (not those within a notebook), by their `launch.jsonl`.

    That of a sweep lives on between its searches and the study of its winners, where nothing is launched.
    """
    begun: dict[tuple[object, object], Process] = {}
    ended: set[Process] = set()
    names = launched_studies(store, study)
    for event in (row for name in names for row in read_jsonl(store.study(name) / "launch.jsonl")):
        who = (event.get("host"), event.get("launcher"))
        if event.get("event") == "launch" and "process" in event:
            begun[who] = Process.from_json(event["process"])
            ended.discard(begun[who])
        elif event.get("event") == "end" and who in begun:
            ended.add(begun[who])
    between = _is_sweep(store, study)
    known = {process: process.alive() for process in begun.values()}
    return Launchers(
        tuple(process for process, alive in known.items() if alive and (between or process not in ended)),
        tuple(process for process, alive in known.items() if alive is None and process not in ended),
    )


def launched_studies(store: Store, study: str) -> list[str]:
    """Return what a launcher works on: the study, and of a sweep that of its winners, once there is one."""
    final = final_name(study)
    return [study, final] if _is_sweep(store, study) and final in store.study_names() else [study]


def _is_sweep(store: Store, study: str) -> bool:
    try:
        return is_sweep(store.plan(study))
    except UserError:  # not planned yet, or the plan is damaged, which the launcher writes anew
        return False


def stop_launchers(launchers: Iterable[Process]) -> None:
    """Ask launchers of this machine to stop, as Ctrl-C does, and wait until they have: workers save their state.

    Raises:
        UserError: one is of another user.

    """
    asked = []
    for process in launchers:
        try:
            asked += [process] if process.send(signal.SIGTERM) else []
        except PermissionError:
            raise UserError(f"{process} is another user's, who can stop it") from None
    while any(process.alive() for process in asked):
        time.sleep(POLL)


def cancel_jobs(store: Store, study: str, *, force: bool = False) -> int:
    """Cancel the jobs that launchers which are gone have left in Slurm's queue; return their number.

    That of a run may be of another study, which has the same cell: where its launcher lives, it goes on.

    Args:
        store: the run store.
        study: its name, or that of a sweep.
        force: those of launchers on other hosts, too, which may live.

    Raises:
        SlurmError: the queue does not answer.

    """
    runs = {run["id"] for name in launched_studies(store, study) for run in store.plan(name)["runs"]}
    left = [job for run in runs if (job := read_job(store.run(run))) is not None]
    known = {number for number, launcher in left if (alive := launcher.alive()) is False or (force and alive is None)}
    active = [number for number, info in query_jobs(known).items() if info.active] if known else []
    if active:
        cancel(active)
    return len(active)
