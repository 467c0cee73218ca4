"""Converting a data set's raw files to a folder of shards: resumable, and the same for any number of workers.

First all annotations are sorted on disk. Then the shards are written, each by one process, and the index last. The same
command resumes a conversion that was killed.
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
from mtlab.data.shards.writing.collect import (
    Progress,
    StagedAnnotations,
    collect_annotations,
    read_rejects,
    read_staged,
)
from mtlab.data.shards.writing.rejects import RejectLog, reject_log
from mtlab.data.shards.writing.write import ShardJob, WrittenShard, write_shard
from mtlab.errors import UserError, nearest

STATE = ".converting"  #: folder of an unfinished conversion, in the folder of shards
SAMPLES = 1000  #: in a shard


@dataclass(frozen=True)
class Conversion:
    """A checked conversion."""

    converter: Converter
    out: Path
    made_from: ShardIndex  #: everything that the output depends on: an index without shards

    @property
    def state(self) -> Path:
        """Folder of the unfinished conversion."""
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
    """Convert a data set, or return the index of a finished conversion.

    Args:
        name: of the converter.
        root: the folder of the raw files.
        out: the folder of shards: new, or holding a conversion of the same files.
        options: of the converter.
        parts: to convert; none: all.
        workers: processes that write shards.
        max_bad: highest share of bad texts. Each is logged in `bad.jsonl`.
        samples: in a shard, at most.
        progress: called now and then.

    Returns:
        The index of the finished folder.

    Raises:
        UserError: files are missing, or of another data set, or too much in them is bad; `out` holds something else.

    """
    conversion = _check_options(name, root, out, options or {}, parts, samples)
    finished = _finished(conversion)
    if finished is None:
        with try_lock(conversion.state / "lock") as locked:
            if not locked:
                raise UserError("another process is converting into this folder: wait for it, or stop it", file=out)
            finished = _finished(conversion) or _convert(conversion, workers, max_bad, progress)
    shutil.rmtree(conversion.state, ignore_errors=True)
    return finished


def _convert(conversion: Conversion, workers: int, max_bad: float, progress: Progress) -> ShardIndex:
    files.remove_leftovers(conversion.out)
    options = to_plain(conversion.converter.config)  # with absolute folders, which are staged
    made_from = indices.index_to_text(replace(conversion.made_from, options=options))
    staged = read_staged(conversion.state, made_from)
    with reject_log(conversion.out / indices.BAD, max_bad) as rejects:
        if staged is None:
            staged = collect_annotations(conversion.converter, conversion.state, made_from, rejects, progress)
        else:
            rejects.add(read_rejects(conversion.state))
        shards = _write_shards(conversion, staged, workers, rejects, progress)
    return _finish(conversion, staged, shards, rejects)


def _check_options(
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
        {
            option: value
            for option, value in to_plain(config).items()
            if option not in entry.cls.location_options or not Path(value).is_absolute()
        },
        samples,
        None,
        None,
        sources,
        {part: Part(()) for part in converter.parts},
    )
    return Conversion(converter, out, made_from)


def _stamp(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": files.sha256(path)}


def _finished(conversion: Conversion) -> ShardIndex | None:
    """Return the index of a finished conversion of the same files; None: it is not finished.

    Raises:
        UserError: the folder holds something else.

    """
    out, made_from = conversion.out, conversion.made_from
    if not out.exists():
        return None
    if not out.is_dir():
        raise UserError("is a file: name a folder for the shards", file=out)
    path = out / indices.INDEX
    if not path.exists():
        if not conversion.state.exists() and any(out.iterdir()):
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
    conversion: Conversion, staged: StagedAnnotations, workers: int, rejects: RejectLog, progress: Progress
) -> dict[str, list[Shard]]:
    """Write all shards that are not finished, and return all."""
    size, converter = conversion.made_from.samples, conversion.converter
    base = ShardJob(
        staged=staged.database.absolute(),
        root=converter.root.absolute(),
        out=conversion.out.absolute(),
        state=conversion.state.absolute() / "shards",
        losses_expected=converter.losses_expected,
    )
    jobs = [
        replace(base, part=part, number=number, first=first, last=min(first + size, count))
        for part, count in staged.samples.items()
        for number, first in enumerate(range(0, count, size))
    ]
    total, done = sum(staged.samples.values()), 0
    shards: dict[str, list[Shard]] = {part: [] for part in staged.samples}
    for job, written in zip(jobs, _run(jobs, workers), strict=True):
        shards[job.part].append(written.shard)
        done += job.last - job.first
        progress("writing shards", done, total)
        rejects.add(written.bad)
        rejects.check_share(staged.texts)
    return shards


def _run(jobs: Sequence[ShardJob], workers: int) -> Iterator[WrittenShard]:
    if workers == 1 or len(jobs) == 1:
        yield from map(write_shard, jobs)
        return
    # A fresh interpreter each: a copy of this one might hold locks of threads that were not copied.
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), _end_with_parent) as pool:
        try:
            yield from pool.map(write_shard, jobs)
        except BrokenProcessPool:
            raise UserError(
                "a process that wrote shards was killed (out of memory?): give the same command again to go on, "
                "perhaps with fewer --workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this process when its parent is killed: it would wait for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the parent lets each finish its shard
    parent = parent_process()
    assert parent is not None, "only workers call this"

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _finish(
    conversion: Conversion, staged: StagedAnnotations, shards: Mapping[str, Sequence[Shard]], rejects: RejectLog
) -> ShardIndex:
    """Write the files beside the shards, the index last."""
    for part, written in shards.items():
        if not any(shard.samples for shard in written):
            raise UserError(f"{part}: no image can be used: {rejects.first(part)}", file=conversion.converter.root)
    parts = {}
    for part, written in shards.items():
        kept = tuple(shard for shard in written if shard.samples)
        for shard in written:
            if not shard.samples:
                (conversion.out / shard.file).unlink(missing_ok=True)
                (conversion.out / shard.rows).unlink(missing_ok=True)
        parts[part] = Part(kept, rejects.count(part, missing=False), rejects.count(part, missing=True))
    index = replace(conversion.made_from, parts=parts)
    if staged.answers is not None:
        path = conversion.out / indices.ANSWERS
        files.write_json(path, staged.answers)
        index = replace(index, answers=len(staged.answers), answers_sha256=files.sha256(path))
    elif index.kind in CLASSES:
        index = replace(index, answers=len(CLASSES[index.kind]))
    files.write_json(conversion.out / indices.CONVERSION, _provenance(conversion))
    files.write_text(conversion.out / indices.INDEX, indices.index_to_text(index))
    return index


def _provenance(conversion: Conversion) -> dict[str, Any]:
    """Describe the conversion itself, which makes no difference to the shards."""
    from importlib.metadata import version

    return {
        "mtlab": version("mtlab"),
        "root": str(conversion.converter.root.absolute()),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
