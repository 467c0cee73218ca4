"""Faults of a store: copied while it trains, merged with another, gone on with by other versions."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from patience import wait_for
from stage import Report, Stage, read
from tiny_runs import outcome
from worker_faults import strike_patience

from mtlab.runs.cleanup import find_in_store
from mtlab.runs.results import THEN
from mtlab.runs.store import Store
from mtlab.training.environment import describe_conditions

COPY = ("cp -r", "cp -a", "tar")
MERGE = ("cp -r", "cp -a", "cp -au")  # the last one keeps what is newer


def copy(how: str, source: Path, target: Path) -> None:
    """Copy what lies in a folder, as a user does; files that vanish meanwhile are complained of and left out."""
    target.mkdir(parents=True, exist_ok=True)
    command = "tar -C {0} -cf - . | tar -C {1} -xf -" if how == "tar" else f"{how} {{0}}/. {{1}}"
    subprocess.run(command.format(source, target), shell=True, check=False, capture_output=True)


def settle(store: Path, run: Path) -> tuple[bool, str]:
    """Set a damaged run aside, as `mtlab clean --yes` and `mtlab plan` do; return whether it was, and what is wrong.

    Whatever a report reads must be told as damaged, or be as it was when the run was finished, see `unlike`.
    """
    (store / "store.json").write_text('{"format": 1}')
    config = (run / "config.json").read_bytes()
    found = [item for item in find_in_store(Store.open(store), patience=0.2).items if item.kind == "damaged"]
    for item in found:
        item.remove()
        run.mkdir()
        (run / "config.json").write_bytes(config)
    return bool(found), "" if len(found) <= 1 else f"{len(found)} damaged runs"


def unlike(run: Path, undisturbed: Any) -> list[str]:
    """Return what differs in a finished run of all that reports read, which is all but the best checkpoint."""
    try:
        found = outcome(run)
    except (OSError, KeyError, ValueError) as error:
        return [type(error).__name__]
    return [key for key in undisturbed if key != "checkpoints/best.safetensors" and found[key] != undisturbed[key]]


def unseen(store: Path, run: Path, undisturbed: Any) -> str:
    """Say what is wrong in a run that is taken for finished and sound; "" if nothing is."""
    if not (run / "result.json").exists():
        return ""
    (store / "store.json").write_text('{"format": 1}')
    sound = Store.open(store).damage(f"{run.parent.name}/{run.name}") is None
    wrong = unlike(run, undisturbed) if sound else []
    return f"taken for sound, but differs: {', '.join(wrong)}" if wrong else ""


def copied(stage: Stage) -> Report:
    """The store is copied while its run trains, and gone on with in both places, perhaps at the same time."""
    elsewhere, original, how = stage.folder / "copy", stage.run, stage.dice.choice(COPY)
    process = stage.start()
    wait_for(lambda: (stage.run / "lock.json").exists() or not process.is_alive())
    process.join(stage.moment())
    injected = process.is_alive()
    copy(how, stage.folder / "cells", elsewhere / "cells")
    what = stage.dice.choice(["ended", "stopped", "running"]) if process.is_alive() else "ended"
    if what == "ended":
        process.join()
    run = elsewhere / "cells" / "cell" / "s0"
    wrong = unseen(elsewhere, run, stage.undisturbed)
    if not wrong:
        _, wrong = settle(elsewhere, run)
    stage.run = run
    if what == "stopped":  # as if it hung: whoever takes it for the copy's worker would kill it
        os.kill(process.pid or 0, signal.SIGSTOP)
        stage.attempt(strike_patience)
        with suppress(ProcessLookupError):
            os.kill(process.pid or 0, signal.SIGCONT)
    of_copy = stage.compare(injected=injected)
    process.join()
    stage.run = original
    if wrong or of_copy.note or process.exitcode != 0:
        note = f"{how}, {what}: {wrong or of_copy.note}, original: exit {process.exitcode}: {stage.said()[-400:]}"
        return Report(injected, of_copy.lost, of_copy.wrong, explained=False, note=note)
    return stage.compare(injected=injected)


def merged(stage: Stage) -> Report:
    """Two stores with the same run, each finished or cut off at a random moment, are copied into one."""
    ours, theirs, how = stage.run, stage.folder / "theirs", stage.dice.choice(MERGE)
    copy("cp -a", stage.folder / "cells", theirs / "cells")
    for run in (ours, theirs / "cells" / "cell" / "s0"):
        stage.run = run
        if stage.dice.random() < 0.4:
            stage.attempt()
        else:
            stage.killed_at_a_random_moment(after=stage.last if stage.dice.random() < 0.5 else None)
    stage.run = ours
    both = [(store / "cells/cell/s0/result.json").exists() for store in (stage.folder, theirs)]
    copy(how, theirs / "cells", stage.folder / "cells")
    told = unseen(stage.folder, ours, stage.undisturbed)
    damaged, wrong = settle(stage.folder, ours)
    if told or wrong or (damaged and not any(both)):
        return Report(True, explained=False, note=f"{how}, finished: {both}, damaged: {damaged}: {told or wrong}")
    return stage.compare(injected=True)


def upgraded(stage: Stage) -> Report:
    """Killed, and gone on with by another torch or mtlab: told in the log, in the result, and so in the report."""
    library = stage.dice.choice(["torch", "mtlab"])
    process = stage.start(_strike_version, library, "1.0")
    wait_for(lambda: stage.last.exists() or not process.is_alive())
    process.join(stage.moment())
    process.kill()
    process.join()
    injected = process.exitcode != 0 and stage.last.exists()
    report = stage.compare(injected=injected, but=("result",))
    if report.note:
        return report
    result, expected = read(stage.run / "result.json"), stage.undisturbed["result"]
    mixes, other = result["mixes"], expected["mixes"]
    # A run that had ended before the kill is all of one version.
    version = f"1.0{THEN}{other[library]}" if injected else "1.0"
    wrong = [key for key in expected if key not in ("mixes", "cost") and result[key] != expected[key]]
    told = mixes == {**other, library: version} and (not injected or f"{library} 1.0, now" in stage.said())
    note = "" if told and not wrong else f"{wrong}, {mixes}: {stage.said()[-400:]}"
    return Report(injected, wrong=len(wrong), explained=told, note=note)


def _strike_version(library: str, version: str) -> None:
    from mtlab.training import loop

    loop.describe_conditions = lambda run: {**describe_conditions(run), library: version}
