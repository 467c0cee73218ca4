"""Finding run directories that no stored plan asks for any more, and removing them only if that still holds."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.data.cache import size_limit
from mtlab.errors import UserError
from mtlab.runs.cleanup import Cleanup, InUseError, Removable, hold_idle_run, is_settled, remove_path
from mtlab.runs.lock import lock_state
from mtlab.runs.store import PLAN_ANEW, Store, run_id


def find_unplanned_runs(
    store: Store, studies: Collection[str] = (), *, progress: Callable[[str], None] = lambda _: None
) -> Cleanup:
    """Find run directories that no stored plan asks for.

    Args:
        store: where to search.
        studies: only runs that these have started; by default of any.
        progress: called with what is being checked.

    Raises:
        UserError: a plan is damaged or missing, so that its runs are unknown.

    """
    planned, cleanup = PlannedRuns(store), Cleanup()
    ids = planned.ids()
    started = {run for name in studies for run in _started_runs(store, name)}
    for directory in store.run_folders():
        run = f"{directory.parent.name}/{directory.name}"
        progress(run)
        if run in ids or (studies and run not in started):
            continue
        if lock_state(directory) in ("live", "unsure"):
            cleanup.kept.append((directory, "a worker holds it"))
        elif not is_settled(directory):
            cleanup.kept.append((directory, "changed within the last hour"))
        else:
            size = size_limit.folder_size(directory) + size_limit.folder_size(store.derived(run))
            why = "no stored plan asks for it" + _state_note(store, run)
            cleanup.items.append(Removable("run", directory, size, why, partial(_remove_run, store, run, planned)))
    return cleanup


class PlannedRuns:
    """The runs of all stored plans of a store, read again whenever a plan changes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._signature: Any = None
        self._ids: frozenset[str] = frozenset()

    def ids(self) -> frozenset[str]:
        """Return the ids of all planned runs, parents of other studies included.

        Of a study with seeds until decided these are all that it may ask for: with another question, such as a smaller
        margin, its plan begins with few seeds again, and its looks read those that have run.

        Raises:
            UserError: a plan is damaged or missing.

        """
        folders = sorted(path for path in (self.store.root / "studies").glob("*") if path.is_dir())
        signature = [(folder.name, _stamp(folder / "plan.json")) for folder in folders]
        if signature != self._signature:
            for folder, (_, stamp) in zip(folders, signature, strict=True):
                if stamp is None and (folder / "spec.yaml").exists():
                    raise UserError(f"has no plan, so its runs are unknown: {PLAN_ANEW}", file=folder)
            plans = [self.store.plan(name) for name, stamp in signature if stamp is not None]
            planned = {run["id"] for plan in plans for run in plan["runs"]}
            sequential = [plan for plan in plans if plan.get("sequential") is not None]
            later = {run_id(run["cell"], seed) for plan in sequential for run in plan["runs"] for seed in plan["seeds"]}
            self._ids = frozenset(planned | later)
            self._signature = signature
        return self._ids


def _remove_run(store: Store, run: str, planned: PlannedRuns) -> None:
    """Rename, then delete, so that nobody finds half a run. The guard's file stays, as others may be waiting for it."""
    directory = store.run(run)
    doomed = directory.with_name(f"{files.TEMPORARY}removed-{secrets.token_hex(4)}")
    with hold_idle_run(directory):
        if run in planned.ids():
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


def _started_runs(store: Store, name: str) -> set[str]:
    """Return the runs that a study's launchers have started."""
    folder = store.study(name)
    if not folder.is_dir():
        store.plan(name)  # says so, with the nearest name
    return {str(event["run"]) for event in files.read_jsonl(folder / "launch.jsonl") if "run" in event}


def _state_note(store: Store, run: str) -> str:
    return {"done": ", finished", "failed": ", failed", "new": ", never begun"}.get(store.state(run), ", unfinished")
