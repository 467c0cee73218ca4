"""Filling an entry of the expert cache: several processes share the work by chunks, none waits for the dead.

Chunks come out the same whoever computes them, and are written whole: a claim only saves double work. A claimant that
is killed loses its claim at once; one that hangs is overtaken after `PATIENCE`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from mtlab.data.cache.entry import EntryFolder
from mtlab.data.cache.extract import FeatureExtractor
from mtlab.data.cache.index import CacheIndex
from mtlab.data.cache.key import CHUNK
from mtlab.data.cache.locks import try_lock
from mtlab.towers.build import tower_shape

Progress = Callable[[int, int], None]  #: items done, items in all

PATIENCE = 300.0  #: seconds without a new chunk after which others' claims count for nothing
PAUSE = 0.05  #: seconds between two looks at what the others have done


def fill(
    entry: EntryFolder, made_from: dict[str, Any], work: FeatureExtractor, progress: Progress | None = None
) -> None:
    """Compute what is missing and finish the entry, together with whoever else is at it.

    Raises:
        UserError: the tower, its weights or the data cannot be had, or the disk is full.

    """
    waiting_since = None
    while not entry.finished:
        keys = work.keys
        chunks = [keys[at : at + CHUNK] for at in range(0, len(keys), CHUNK)]
        _compute_missing(entry, chunks, work, progress)
        if entry.finished:
            return
        with try_lock(entry.path / "pack.lock") as mine:
            waiting_since = waiting_since or time.monotonic()
            if mine or time.monotonic() - waiting_since > PATIENCE:
                entry.pack(made_from, keys, tower_shape(work.kind, work.node).widths, len(chunks))
            else:
                time.sleep(PAUSE)


def mend(entry: EntryFolder, index: CacheIndex, work: FeatureExtractor) -> CacheIndex:
    """Recompute every chunk whose bytes no longer match their checksum; return the index that holds then."""
    for number in entry.damaged(index):
        index = entry.repair(index, number, work.compute(index.keys_of(number)))
    return index


def _compute_missing(
    entry: EntryFolder, chunks: Sequence[Sequence[str]], work: FeatureExtractor, progress: Progress | None
) -> None:
    total = sum(map(len, chunks))
    missing = _missing(entry, range(len(chunks)))
    last_news = time.monotonic()
    while missing and not entry.finished:
        overdue = time.monotonic() - last_news > PATIENCE
        done = total - sum(len(chunks[number]) for number in missing)
        for number in missing:
            if _compute(entry, number, chunks[number], work, claimed=not overdue):
                done += len(chunks[number])
                last_news = time.monotonic()
                if progress is not None:
                    progress(done, total)
        left = _missing(entry, missing)
        if len(left) < len(missing):
            last_news = time.monotonic()
        elif left:
            time.sleep(PAUSE)
        missing = left
    if progress is not None:
        progress(total, total)


def _compute(entry: EntryFolder, number: int, keys: Sequence[str], work: FeatureExtractor, *, claimed: bool) -> bool:
    """Compute a chunk unless it is there, or (with `claimed`) another is at it; say whether it was computed."""
    if entry.finished or entry.chunk_path(number).exists():
        return False
    with try_lock(entry.chunks / f"{number:05d}.lock") as mine:
        if (claimed and not mine) or entry.chunk_path(number).exists() or entry.finished:
            return False
        entry.write_chunk(number, work.compute(keys))
        return True


def _missing(entry: EntryFolder, numbers: Sequence[int]) -> list[int]:
    return [number for number in numbers if not entry.chunk_path(number).exists()]
