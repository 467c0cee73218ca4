"""Building an entry of the expert cache: several processes share the chunks, and none waits for a dead one.

A chunk is the same whoever computes it, and is written atomically. Locks only avoid double work: a process that is
killed loses its locks at once, and those of a process that hangs are ignored after `STALL_SECONDS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from mtlab.data.cache.entry import CacheIndex, EntryFolder
from mtlab.data.cache.extract import FeatureExtractor
from mtlab.data.cache.key import CHUNK
from mtlab.data.cache.locks import try_lock
from mtlab.towers.build import tower_shape

Progress = Callable[[int, int], None]  #: items done, items in all

STALL_SECONDS = 300.0  #: without a new chunk, after which the locks of others are ignored
POLL_SECONDS = 0.05  #: between two looks at the others' progress


def build_entry(
    entry: EntryFolder, made_from: dict[str, Any], extractor: FeatureExtractor, progress: Progress | None = None
) -> None:
    """Compute the missing chunks and finish the entry, together with other processes that build it.

    Raises:
        UserError: the tower, its weights or the data are unavailable, or the disk is full.

    """
    waiting_since = None
    while not entry.finished:
        keys = extractor.keys
        chunks = [keys[at : at + CHUNK] for at in range(0, len(keys), CHUNK)]
        _compute_missing(entry, chunks, extractor, progress)
        if entry.finished:
            return
        with try_lock(entry.path / "pack.lock") as locked:
            waiting_since = waiting_since or time.monotonic()
            if locked or time.monotonic() - waiting_since > STALL_SECONDS:
                entry.finish(made_from, keys, tower_shape(extractor.kind, extractor.node).widths, len(chunks))
            else:
                time.sleep(POLL_SECONDS)


def repair_entry(entry: EntryFolder, index: CacheIndex, extractor: FeatureExtractor) -> CacheIndex:
    """Recompute every chunk whose bytes differ from their checksum; return the valid index."""
    for number in entry.damaged_chunks(index):
        index = entry.repair(index, number, extractor.compute(index.chunk_keys(number)))
    return index


def _compute_missing(
    entry: EntryFolder, chunks: Sequence[Sequence[str]], extractor: FeatureExtractor, progress: Progress | None
) -> None:
    total = sum(map(len, chunks))
    missing = _missing_chunks(entry, range(len(chunks)))
    last_chunk = time.monotonic()
    while missing and not entry.finished:
        stalled = time.monotonic() - last_chunk > STALL_SECONDS
        done = total - sum(len(chunks[number]) for number in missing)
        for number in missing:
            if _compute_chunk(entry, number, chunks[number], extractor, ignore_lock=stalled):
                done += len(chunks[number])
                last_chunk = time.monotonic()
                if progress is not None:
                    progress(done, total)
        still_missing = _missing_chunks(entry, missing)
        if len(still_missing) < len(missing):
            last_chunk = time.monotonic()
        elif still_missing:
            time.sleep(POLL_SECONDS)
        missing = still_missing
    if progress is not None:
        progress(total, total)


def _compute_chunk(
    entry: EntryFolder, number: int, keys: Sequence[str], extractor: FeatureExtractor, *, ignore_lock: bool
) -> bool:
    """Compute a chunk, unless it exists or another process has locked it; return True if it was computed."""
    if entry.finished or entry.chunk_path(number).exists():
        return False
    with try_lock(entry.chunks / f"{number:05d}.lock") as locked:
        if not (locked or ignore_lock) or entry.chunk_path(number).exists() or entry.finished:
            return False
        entry.write_chunk(number, extractor.compute(keys))
        return True


def _missing_chunks(entry: EntryFolder, numbers: Sequence[int]) -> list[int]:
    return [number for number in numbers if not entry.chunk_path(number).exists()]
