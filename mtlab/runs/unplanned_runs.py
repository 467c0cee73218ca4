"""Run directories that no stored plan asks for any more: found, and removed only if that is still so."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.data.cache import size_limit
from mtlab.errors import UserError
from mtlab.runs.cleanup import Cleanup, InUseError, Removable, hold_idle_run, is_settled, remove_path, run_directories
from mtlab.runs.lock import lock_state
from mtlab.runs.store import Store


def find_unplanned_runs(
    store: Store, studies: Collection[str] = (), *, seen: Callable[[str], None] = lambda _: None
) -> Cleanup:
    """Find run directories that no stored plan asks for.

    Args:
        store: where to look.
        studies: only runs that these have started; by default of any.
        seen: told what is looked at, for progress.

    Raises:
        UserError: a plan is damaged or missing, so that nobody can tell what it asks for.

    """
    plans, found = PlannedRuns(store), Cleanup()
    started = {run for name in studies for run in _started(store, name)}
    for directory in run_directories(store):
        run = f"{directory.parent.name}/{directory.name}"
        seen(run)
        if run in plans.asked() or (studies and run not in started):
            continue
        if lock_state(directory) in ("live", "unsure"):
            found.kept.append((directory, "a worker holds it"))
        elif not is_settled(directory):
            found.kept.append((directory, "changed within the last hour"))
        else:
            size = size_limit.folder_size(directory) + size_limit.folder_size(store.derived(run))
            why = "no stored plan asks for it" + _standing(store, run)
            found.items.append(Removable("run", directory, size, why, partial(_remove_run, store, run, plans)))
    return found


class PlannedRuns:
    """The runs that the stored plans of a store ask for, read again whenever one of them changes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._signature: Any = None
        self._asked: frozenset[str] = frozenset()

    def asked(self) -> frozenset[str]:
        """Return the runs that are asked for now, parents of other studies included.

        Raises:
            UserError: a plan is damaged or missing.

        """
        folders = sorted(path for path in (self.store.root / "studies").glob("*") if path.is_dir())
        signature = [(folder.name, _stamp(folder / "plan.json")) for folder in folders]
        if signature != self._signature:
            for folder, (_, stamp) in zip(folders, signature, strict=True):
                if stamp is None and (folder / "spec.yaml").exists():
                    problem = "has no plan, so nobody can tell which runs it asks for: `mtlab plan` its spec.yaml first"
                    raise UserError(problem, file=folder)
            plans = [self.store.plan(name) for name, stamp in signature if stamp is not None]
            self._asked = frozenset(run["id"] for plan in plans for run in plan["runs"])
            self._signature = signature
        return self._asked


def _remove_run(store: Store, run: str, plans: PlannedRuns) -> None:
    """Rename, then delete: nobody may come upon half a run. The empty guard stays, so that all mean the same file."""
    directory = store.run(run)
    doomed = directory.with_name(f"{files.TEMPORARY}removed-{secrets.token_hex(4)}")
    with hold_idle_run(directory):
        if run in plans.asked():
            raise InUseError("a plan asks for it by now")
        if not is_settled(directory):
            raise InUseError("was changed since")
        directory.rename(doomed)
    remove_path(doomed)
    remove_path(store.derived(run))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        there = path.stat()
    except FileNotFoundError:
        return None
    return there.st_ino, there.st_mtime_ns, there.st_size


def _started(store: Store, name: str) -> set[str]:
    """Return the runs that a study's launchers have started."""
    folder = store.study(name)
    if not folder.is_dir():
        store.plan(name)  # says so, with the nearest name
    return {str(event["run"]) for event in files.read_jsonl(folder / "launch.jsonl") if "run" in event}


def _standing(store: Store, run: str) -> str:
    return {"done": ", finished", "failed": ", failed", "new": ", never begun"}.get(store.state(run), ", unfinished")
