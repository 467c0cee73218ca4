"""From a data set's raw files to a folder of shards: resumable, in parallel, the same for any number of workers.

First all annotations are read and sorted on disk, then the shards are written, each by one process; the index comes
last. A conversion that was killed goes on where it was when the same command is given again.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.config.check import to_plain
from mtlab.config.nodes import lookup_options
from mtlab.data.cache.locks import try_lock
from mtlab.data.converters.base import CONVERTERS, Converter
from mtlab.data.shards import index as indices
from mtlab.data.shards.index import CLASSES, Part, Shard, ShardIndex
from mtlab.data.shards.writing.collect import Progress, Staged, collect, left_out_before, staged_before
from mtlab.data.shards.writing.rejects import RejectLog, reject_log
from mtlab.data.shards.writing.write import ShardJob, WrittenShard, write
from mtlab.errors import UserError, nearest

STATE = ".converting"  #: below the folder of shards, until all is finished
SAMPLES = 1000  #: in a shard


@dataclass(frozen=True)
class Conversion:
    """A conversion, checked."""

    converter: Converter
    out: Path
    made_from: ShardIndex  #: all that decides what comes out: an index without shards

    @property
    def state(self) -> Path:
        """Where the work stands until it is finished."""
        return self.out / STATE


def convert(
    name: str,
    root: Path,
    out: Path,
    options: Mapping[str, Any] | None = None,
    *,
    parts: Sequence[str] = (),
    workers: int = 1,
    max_bad: float = 0.01,
    samples: int = SAMPLES,
    progress: Progress = lambda _what, _done, _whole: None,
) -> ShardIndex:
    """Convert a data set; one that is converted already is only looked up.

    Args:
        name: of the converter.
        root: the folder of the raw files.
        out: the folder of shards; it may not be there, or hold a conversion of the same files.
        options: of the converter.
        parts: those that are wanted; none: all.
        workers: processes that write shards.
        max_bad: share of bad texts above which all is refused. Each is listed in `bad.jsonl`, whatever the share.
        samples: in a shard, at most.
        progress: called now and then.

    Returns:
        The index of the finished folder.

    Raises:
        UserError: files are missing, or of another data set, or too much in them is bad; `out` holds something else.

    """
    asked = _asked(name, root, out, options or {}, parts, samples)
    finished = _finished(asked)
    if finished is None:
        with try_lock(asked.state / "lock") as mine:
            if not mine:
                raise UserError("another process is converting into this folder: wait for it, or stop it", file=out)
            finished = _finished(asked) or _convert(asked, workers, max_bad, progress)
    shutil.rmtree(asked.state, ignore_errors=True)
    return finished


def _convert(asked: Conversion, workers: int, max_bad: float, progress: Progress) -> ShardIndex:
    files.remove_leftovers(asked.out)
    made_from = indices.index_to_text(asked.made_from)
    staged = staged_before(asked.state, made_from)
    with reject_log(asked.out / indices.BAD, max_bad) as left:
        if staged is None:
            staged = collect(asked.converter, asked.state, made_from, left, progress)
        else:
            left.add(left_out_before(asked.state))
        shards = _write_shards(asked, staged, workers, left, progress)
    return _finish(asked, staged, shards, left)


def _asked(
    name: str,
    root: Path,
    out: Path,
    options: Mapping[str, Any],
    parts: Sequence[str],
    samples: int,
) -> Conversion:
    entry, config = lookup_options(CONVERTERS, {"name": name, **options}, "")
    if not root.is_dir():
        raise UserError("no such folder: give the folder of the raw files", file=root)
    for part in parts:
        if part not in entry.cls.all_parts:
            raise UserError(f"{name} has no part {part!r}; {nearest(part, entry.cls.all_parts)}", key="--parts")
    converter = entry.cls(root, config, parts)
    sources = {source: _stamp(converter.require(source)) for source in converter.sources()}
    made_from = ShardIndex(
        name,
        converter.kind_of(),
        entry.version,
        to_plain(config),
        samples,
        None,
        None,
        sources,
        {part: Part(()) for part in converter.parts},
    )
    return Conversion(converter, out, made_from)


def _stamp(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": files.sha256(path)}


def _finished(asked: Conversion) -> ShardIndex | None:
    """Return the index of a folder that was made from the same files; None: there is work to do.

    Raises:
        UserError: the folder holds something else.

    """
    out, made_from = asked.out, asked.made_from
    if not out.exists():
        return None
    if not out.is_dir():
        raise UserError("is a file: name a folder for the shards", file=out)
    path = out / indices.INDEX
    if not path.exists():
        if not asked.state.exists() and any(out.iterdir()):
            raise UserError("is not empty, and holds no shards: name another folder", file=out)
        return None
    index = indices.parse_index(path.read_bytes(), str(path))
    same = all(
        getattr(index, what) == getattr(made_from, what)
        for what in ("name", "kind", "version", "options", "samples", "sources")
    )
    if not same or list(index.parts) != list(made_from.parts):
        raise UserError(
            f"holds {index.name}, converted from other files, by other options, or by another version: "
            "name another folder, or remove this one",
            file=out,
        )
    return index


def _write_shards(
    asked: Conversion, staged: Staged, workers: int, left: RejectLog, progress: Progress
) -> dict[str, list[Shard]]:
    """Write all shards; those that are there already are looked up."""
    size, converter = asked.made_from.samples, asked.converter
    base = ShardJob(
        staged=staged.database.absolute(),
        root=converter.root.absolute(),
        out=asked.out.absolute(),
        state=asked.state.absolute() / "shards",
        losses_expected=converter.losses_expected,
    )
    jobs = [
        replace(base, part=part, number=number, first=first, last=min(first + size, count))
        for part, count in staged.samples.items()
        for number, first in enumerate(range(0, count, size))
    ]
    whole, done = sum(staged.samples.values()), 0
    shards: dict[str, list[Shard]] = {part: [] for part in staged.samples}
    for job, written in zip(jobs, _run(jobs, workers), strict=True):
        shards[job.part].append(written.shard)
        done += job.last - job.first
        progress("writing shards", done, whole)
        left.add(written.bad)
        left.refuse_many(staged.texts)
    return shards


def _run(jobs: Sequence[ShardJob], workers: int) -> Iterator[WrittenShard]:
    if workers == 1 or len(jobs) == 1:
        yield from map(write, jobs)
        return
    # A fresh interpreter each: a copy of this one might hold locks of threads that were not copied.
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), _end_with_parent) as pool:
        try:
            yield from pool.map(write, jobs)
        except BrokenProcessPool:
            raise UserError(
                "a process that wrote shards was killed (out of memory?): give the same command again to go on, "
                "perhaps with fewer --workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Let this process end when the one that started it is killed: it would wait for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the parent lets each finish its shard
    parent = parent_process()
    assert parent is not None, "only workers call this"

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _finish(asked: Conversion, staged: Staged, shards: Mapping[str, Sequence[Shard]], left: RejectLog) -> ShardIndex:
    """Write what lies beside the shards, the index last of all."""
    parts = {}
    for part, written in shards.items():
        kept = tuple(shard for shard in written if shard.samples)
        if not kept:
            raise UserError(f"{part}: no image can be used: {left.first(part)}", file=asked.converter.root)
        for shard in written:
            if not shard.samples:
                (asked.out / shard.file).unlink()
                (asked.out / shard.rows).unlink()
        parts[part] = Part(kept, left.count(part, missing=False), left.count(part, missing=True))
    index = replace(asked.made_from, parts=parts)
    if staged.answers is not None:
        path = asked.out / indices.ANSWERS
        files.write_json(path, staged.answers)
        index = replace(index, answers=len(staged.answers), answers_sha256=files.sha256(path))
    elif index.kind in CLASSES:
        index = replace(index, answers=len(CLASSES[index.kind]))
    files.write_json(asked.out / indices.CONVERSION, _circumstances(asked))
    files.write_text(asked.out / indices.INDEX, indices.index_to_text(index))
    return index


def _circumstances(asked: Conversion) -> dict[str, Any]:
    """Tell what makes no difference to the shards, but may be asked for one day."""
    from importlib.metadata import version

    return {
        "mtlab": version("mtlab"),
        "root": str(asked.converter.root.absolute()),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
