"""Damaged files of runs: which they are, and the command that mends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mtlab.errors import UserError
from mtlab.runs import manifest, schemas

_FILES = {"config.json": schemas.ConfigFile, "state.json": schemas.StateFile, "failure.json": schemas.FailureFile}


def describe_damage(run: Path) -> str | None:
    """Say which files of a run directory are damaged, and what to do; None if none is.

    Of a finished run all files count that its checksums cover, see `manifest.find_damage`; of any other one its JSON.
    """
    if (run / "result.json").exists():
        found, advice = manifest.find_damage(run, quick=True), manifest.ADVICE
    else:
        found, advice = _unreadable(run), "`mtlab run` writes it anew"
    return f"{', '.join(f'{name} {problem}' for name, problem in found.items())}: {advice}" if found else None


def damaged_runs(plan: Mapping[str, Any], damage: Callable[[str], str | None]) -> list[str]:
    """Return a line for each run of a plan with damaged files.

    Args:
        plan: the stored plan.
        damage: see `Store.damage`.

    """
    found = {run["id"]: damage(run["id"]) for run in plan["runs"]}
    runs = [run for run in plan["runs"] if found[run["id"]] is not None]
    return [f"{run['label']}, seed {run['seed']} ({run['id']}): {found[run['id']]}" for run in runs]


def _unreadable(run: Path) -> dict[str, str]:
    problems = {}
    for name, schema in _FILES.items():
        try:
            schemas.read(run / name, schema)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except UserError as error:
            problems[name] = error.problem.partition(f": {schemas.CHANGED}")[0]
    return problems
