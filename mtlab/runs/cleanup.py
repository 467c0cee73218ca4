"""Finding what may be removed from a store and a cache, and removing it only if that still holds.

Nothing that a live worker or launcher may use is listed. A run's files are its worker's: its lock is checked, and they
are removed under its guard. Files that anybody may be writing are left alone until they have not changed for `SETTLED`
seconds. Entries of the expert cache are held by file locks.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from mtlab import files
from mtlab.data.cache import size_limit
from mtlab.data.cache.locks import LOCKS, QUARANTINE, try_lock
from mtlab.errors import UserError
from mtlab.runs import manifest
from mtlab.runs.lock import PATIENCE, LockWatch, guard, lock_path, lock_state
from mtlab.runs.store import FORMAT, Store, read_plan

SETTLED = 3600.0  #: seconds without a change after which nobody is writing a file any more
ASIDE = ".corrupt-"  #: prefix of the names of damaged runs that were set aside
ENTRIES = "experts"  #: folder of the expert cache's entries, below the cache's root

Kind = Literal["stale lock", "temporary", "set aside", "damaged", "cache", "run"]


class InUseError(Exception):
    """The file is in use by now, or has changed since it was listed, and is left alone."""


@dataclass(frozen=True)
class Removable:
    """A file or folder that may be removed."""

    kind: Kind
    path: Path
    bytes: int
    why: str
    remove: Callable[[], None] = field(repr=False, compare=False)  #: raises `InUseError`, `OSError`


@dataclass
class Cleanup:
    """What may be removed, and what is kept although it is old."""

    items: list[Removable] = field(default_factory=list)
    kept: list[tuple[Path, str]] = field(default_factory=list)  #: path, why


def find_in_store(
    store: Store, *, patience: float = PATIENCE, progress: Callable[[str], None] = lambda _: None
) -> Cleanup:
    """Find stale locks, temporary files, corrupt files set aside, damaged plans, and finished runs that were damaged.

    Locks of other hosts are watched for `patience` seconds.

    Args:
        store: where to search.
        patience: seconds without a beat after which a lock is stale.
        progress: called with what is being checked.

    """
    cleanup, watches = Cleanup(), []
    for run in store.run_folders():
        progress(f"{run.parent.name}/{run.name}")
        lock = lock_state(run)
        if lock == "live":
            continue
        if lock != "free":
            watches.append(LockWatch(run, patience))
        if lock == "unsure":
            continue
        cleanup.items += _find_leftovers(run)
        cleanup.items += _find_damage(run)
    _watch(watches, cleanup, progress)
    cleanup.items += _find_damaged_json(store)
    for aside in sorted((*store.root.glob(f"cells/*/{ASIDE}*"), *store.root.glob(f"studies/*/{ASIDE}*"))):
        what = "a damaged run" if aside.is_dir() else "a damaged plan"
        cleanup.items.append(Removable("set aside", aside, _bytes(aside), what, partial(remove_path, aside)))
    for shared in ("", "cells/*/", "studies/*/", "studies/*/*/", "derived/*/*/", "derived/*/*/*/"):
        for scratch in sorted(store.root.glob(f"{shared}{files.TEMPORARY}*")):
            _add_if_settled(cleanup, scratch)
    return cleanup


def find_in_cache(root: Path, limit: int) -> Cleanup:
    """Find what the expert cache set aside, temporary files, and the least recently used entries beyond its limit.

    Args:
        root: the cache's root, `files.cache_root()`.
        limit: bytes that may stay.

    """
    cleanup, folder = Cleanup(), root / ENTRIES
    entries = size_limit.list_by_last_use(folder)
    excess = sum(size for _, size in entries) - limit
    for path, size in entries:
        aside = path.name == QUARANTINE or path.name.startswith(".evicted-")
        if not size or (excess <= 0 and not aside):
            continue
        if _is_locked(folder / LOCKS / path.name):
            cleanup.kept.append((path, "in use"))
            continue
        excess -= size
        why = "was found damaged, or half removed" if aside else "least recently used, beyond the cache's limit"
        cleanup.items.append(Removable("set aside" if aside else "cache", path, size, why, partial(_evict, path)))
    listed = {item.path for item in cleanup.items}
    for scratch in root.glob(f"**/{files.TEMPORARY}*"):
        if not listed.intersection(scratch.parents):
            _add_if_settled(cleanup, scratch)
    return cleanup


def _find_leftovers(run: Path) -> Iterator[Removable]:
    """Find files of killed workers in a run that nobody works on."""
    for folder in (run, run / "checkpoints"):
        for path in sorted(folder.glob(f"{files.TEMPORARY}*")):
            yield Removable(
                "temporary", path, _bytes(path), "its writer was killed", partial(_remove_of_run, run, path)
            )
        for path in sorted(folder.glob("*.corrupt*")):
            why = "was damaged"
            yield Removable("set aside", path, _bytes(path), why, partial(_remove_of_run, run, path))
    last = run / "checkpoints" / "last.safetensors"
    if last.exists() and (run / "result.json").exists():
        why = "its run is finished: the writer was killed then"
        yield Removable("temporary", last, _bytes(last), why, partial(_remove_of_run, run, last))


def _find_damage(run: Path) -> Iterator[Removable]:
    """Find a finished run whose files have changed, which is set aside as a whole."""
    if not (run / "result.json").exists():  # first, as its checksums are written before it
        return
    damage = manifest.find_damage(run)
    if damage:
        problems = ", ".join(f"{name} {problem}" for name, problem in damage.items())
        why = f"{problems}: kept aside; `mtlab run` trains it again"
        yield Removable("damaged", run, _bytes(run), why, partial(_set_aside, run))


def _find_damaged_json(store: Store) -> Iterator[Removable]:
    """Find files of the store, and plans of studies, that cannot be read."""
    marker = store.root / "store.json"
    try:
        files.read_json(marker, advice="is written anew")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except UserError as error:
        anew = partial(files.write_json, marker, {"format": FORMAT})
        yield Removable("damaged", marker, _bytes(marker), error.problem, anew)
    for name in store.study_names():
        path = store.study(name) / "plan.json"
        try:
            read_plan(path)
        except UserError as error:
            why = f"{error.problem}; the old one is kept aside"
            yield Removable("damaged", path, _bytes(path), why, partial(_set_plan_aside, path))


def _set_plan_aside(path: Path) -> None:
    path.rename(path.with_name(f"{ASIDE}{path.name}-{secrets.token_hex(3)}"))


def _set_aside(run: Path) -> None:
    with hold_idle_run(run):
        run.rename(run.with_name(f"{ASIDE}{run.name}-{secrets.token_hex(3)}"))


def _watch(watches: list[LockWatch], cleanup: Cleanup, progress: Callable[[str], None]) -> None:
    """Watch locks until each is known to be stale or live."""
    waiting = list(watches)
    while waiting:
        still = []
        for watch in waiting:
            lock = watch.observe()
            if lock == "stale":
                path, why = lock_path(watch.run), f"{watch.holder or 'its holder'} is gone"
                cleanup.items.append(Removable("stale lock", path, _bytes(path), why, partial(_clear, watch)))
            elif lock == "live":
                cleanup.kept.append((lock_path(watch.run), f"held by {watch.holder}"))
            elif lock == "unsure":
                still.append(watch)
        waiting = still
        if waiting:
            progress(f"watching {len(waiting)} locks of other hosts for {waiting[0].patience:.0f} s")
            time.sleep(min(0.5, waiting[0].patience / 4))


def _add_if_settled(cleanup: Cleanup, path: Path) -> None:
    if not is_settled(path):
        cleanup.kept.append((path, "may still be written"))
        return
    cleanup.items.append(
        Removable("temporary", path, _bytes(path), "its writer was killed", partial(_remove_settled, path))
    )


# Removing, each after checking again


@contextmanager
def hold_idle_run(run: Path) -> Iterator[None]:
    """Hold the guard of a run that nobody works on, as a context manager.

    Raises:
        InUseError: a worker may hold it.

    """
    with guard(run):
        if lock_state(run) in ("live", "unsure"):
            raise InUseError("a worker holds the run by now")
        yield


def _clear(watch: LockWatch) -> None:
    if lock_state(watch.run) == "live":
        raise InUseError("its holder lives after all")
    if not watch.clear():
        raise InUseError("another holds it by now")


def _remove_of_run(run: Path, path: Path) -> None:
    with hold_idle_run(run):
        remove_path(path)


def _remove_settled(path: Path) -> None:
    if not is_settled(path):
        raise InUseError("was changed since")
    remove_path(path)


def _evict(path: Path) -> None:
    if not size_limit.remove_unused(path):
        raise InUseError("is in use by now")


def remove_path(path: Path) -> None:
    """Remove a file, or a folder with all that it holds."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# Checking


def _is_locked(lock: Path) -> bool:
    if not lock.exists():
        return False
    with try_lock(lock) as free:
        return not free


def is_settled(path: Path) -> bool:
    """Return whether nobody has changed a file, or anything below a folder, for `SETTLED` seconds."""
    newest = 0.0
    for place, folders, names in os.walk(path):
        for name in (*folders, *names, ""):
            newest = max(newest, _changed(Path(place, name)))
    return time.time() - max(newest, _changed(path)) > SETTLED


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _bytes(path: Path) -> int:
    try:
        return size_limit.folder_size(path) if path.is_dir() else path.stat().st_size
    except FileNotFoundError:
        return 0
