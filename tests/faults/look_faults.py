"""Faults of a study with as many seeds as needed: its launcher is killed around its looks, which decide."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from launcher_faults import Study
from stage import Report, Stage
from standin import make_plan, snapshot, until_decided

from mtlab.runs.store import Store
from mtlab.studies.looks import Looks, read_looks, record_path

STEPS = {"base": 3, "one": 4, "two": 5}  # results, and so decisions, depend on seed and steps
LOOKS, MARGIN = (3, 4, 6, 8), 0.65


@dataclass(frozen=True)
class Decided:
    """What a study has decided, and what it trained for that."""

    looks: Looks | None
    runs: dict[str, bytes]
    planned: int


def made() -> Any:
    """Make the study."""
    rows = {cell: {"steps": steps, "pause": 0.02} for cell, steps in STEPS.items()}
    return until_decided(make_plan(rows, range(LOOKS[-1])), "base", LOOKS, MARGIN)


def decided(study: Study) -> Decided:
    """Read what a study has decided."""
    store = Store.open(study.root)
    # A worker that is asked to stop writes a checkpoint wherever it is; what comes of it is in result and metrics.
    runs = {name: data for name, data in snapshot(study.root).items() if not name.endswith("last.json")}
    return Decided(read_looks(store, study.plan[0]), runs, len(store.plan("demo")["runs"]))


@cache
def undisturbed(launch: Callable[..., Any] = Study.launch) -> Decided:
    """Let the study decide undisturbed."""
    with TemporaryDirectory() as folder:
        study = _study(Path(folder))
        assert study.ended(launch(study, workers=3)) == 0, study.output
        return decided(study)


def _study(folder: Path, dice: Any = None) -> Study:
    study = Study(folder, dice)
    study.plan = made()
    return study


def killed(stage: Stage) -> Report:
    """Kill -9 the launcher, with its workers or alone, up to four times, mostly just before or after a look."""
    study = _study(stage.folder, stage.dice)
    record, injected = record_path(Store.open(study.root, create=True), study.plan[0]), False
    for _ in range(4):
        launcher = study.launch(workers=3, keep_going=True)
        _await_look(record, stage, launcher)
        if launcher.poll() is not None:
            study.ended(launcher)
            break
        if stage.dice.random() < 0.5:
            for process in study.workers():
                process.kill()
        os.kill(launcher.pid, signal.SIGKILL)
        launcher.communicate()
        injected = True
    code = study.ended(study.launch(workers=3, keep_going=True))
    expected, found = undisturbed(), decided(study)
    lost = len(expected.runs.keys() - found.runs.keys())
    more = found.runs.keys() - expected.runs.keys()
    wrong = len(more) + sum(found.runs.get(name, data) != data for name, data in expected.runs.items())
    same = found.looks == expected.looks and found.planned == expected.planned
    trace = "Traceback" in "".join(study.output)
    note = (
        "" if not (lost or wrong or code or trace) and same else f"exit {code}, more: {sorted(more)}, looks: {same}: "
    )
    note += "".join(study.output)[-600:] if note else ""
    return Report(injected, lost, wrong + (not same), code == 0 and not trace, note)


def _await_look(record: Path, stage: Stage, launcher: subprocess.Popen[str]) -> None:
    """Wait for a random moment, or for the next look, and a little beyond."""
    end = time.monotonic() + stage.dice.uniform(0.5, 6)
    around = stage.dice.random() < 0.7
    before = record.stat().st_mtime_ns if record.exists() else 0
    while time.monotonic() < end + 20 * around and launcher.poll() is None:
        if around and record.exists() and record.stat().st_mtime_ns != before:
            time.sleep(stage.dice.choice([0, 0, 0.01, 0.1, 0.4]))
            return
        time.sleep(0.001)
