"""Writing one shard atomically: its tar file, its JSONL file, and the shard's entry of the index.

No torch here, and therefore no webdataset, which imports it: a conversion runs many small processes. A tar file is a
WebDataset by the names of its members; a test reads ours by webdataset.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from mtlab import files
from mtlab.data.converters.base import RejectedRow
from mtlab.data.shards.images import BadImageError, MissingImageError, read_checked
from mtlab.data.shards.index import Shard
from mtlab.data.shards.samples import BLOCK, SampleRow, name_members, row_to_line
from mtlab.data.shards.writing import staging


@dataclass(frozen=True)
class ShardJob:
    """The samples of one shard, and where it is written."""

    staged: Path  #: database of sorted samples
    root: Path  #: of the images' paths
    out: Path
    state: Path  #: folder of the finished shards' entries, which are written last
    losses_expected: bool  #: missing images are expected
    part: str = ""
    number: int = 0
    first: int = 0  #: number of the first sample
    last: int = 0  #: one past that of the last

    @property
    def file(self) -> str:
        """Name of the shard."""
        return f"{self.part}-{self.number:06d}.tar"

    @property
    def entry(self) -> Path:
        """File of the finished shard's entry."""
        return self.state / f"{self.part}-{self.number:06d}.json"


@dataclass(frozen=True)
class WrittenShard:
    """A finished shard and its rejected rows."""

    shard: Shard
    bad: tuple[RejectedRow, ...]


def write_shard(job: ShardJob) -> WrittenShard:
    """Write a shard, or return the entry of one that is finished.

    One with rejected rows is written anew, as their images may have been repaired, unless losses are expected; one
    without any sample in any case.

    Raises:
        UserError: the disk is full or may not be written.

    """
    finished = read_entry(job.entry)
    if finished is not None and finished.shard.samples and all(row.missing for row in finished.bad):
        return finished
    bad: list[RejectedRow] = []
    target, lines = job.out / job.file, job.out / f"{Path(job.file).stem}.jsonl"
    with (
        files.atomic_write(target) as target_scratch,
        files.atomic_write(lines) as lines_scratch,
        target_scratch.open("wb") as archive,
        lines_scratch.open("wb") as listing,
    ):
        counts = count_per_text(_rows(job, archive, listing, bad))
        archive.write(bytes(2 * BLOCK))  # ends a tar file
    shard = Shard(
        file=job.file,
        bytes=target.stat().st_size,
        sha256=files.sha256(target),
        rows_sha256=files.sha256(lines),
        samples=counts[""][0] if counts[""] else 0,
        per_text=counts,
    )
    written = WrittenShard(shard, tuple(bad))
    files.write_bytes(job.entry, msgspec.json.encode(written))
    return written


def _rows(job: ShardJob, archive: BinaryIO, listing: BinaryIO, bad: list[RejectedRow]) -> Iterator[SampleRow]:
    """Write the samples to the tar file and the JSONL file; yield each row when it is written."""
    for sample in staging.read_samples(job.staged, job.part, job.first, job.last):
        bad += sample.rejected
        try:
            loaded = [read_checked(job.root / name) for name in sample.images]
        except BadImageError as error:
            missing = job.losses_expected and isinstance(error, MissingImageError)
            reason = f"{', '.join(sample.images)}: {error}"
            bad.append(RejectedRow(job.part, sample.place, reason, missing=missing, texts=len(sample.texts)))
            continue
        row = _append(archive, sample, loaded)
        listing.write(row_to_line(row))
        yield row


def read_entry(path: Path) -> WrittenShard | None:
    """Read the entry of a finished shard; None: it is not finished."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=WrittenShard)
    except FileNotFoundError:
        return None


def count_per_text(rows: Iterable[SampleRow]) -> Mapping[str, tuple[int, ...]]:
    """Count, for the whole and for each subset, the samples with more than 0, 1, 2, … texts."""
    counts: dict[str, Counter[int]] = {"": Counter()}
    for row in rows:
        for subset, texts in Counter(_subsets(row.texts)).items():
            counts.setdefault(subset, Counter())[texts] += 1
    return {
        subset: tuple(sum(n for texts, n in found.items() if texts > place) for place in range(max(found, default=0)))
        for subset, found in sorted(counts.items())
    }


def _subsets(texts: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for text in texts:
        yield ""
        yield from text.get("sets", ())


def _append(stream: BinaryIO, sample: staging.StagedSample, loaded: Sequence[bytes]) -> SampleRow:
    """Append the members of a sample to a tar file; return their row."""
    start, ranges = stream.tell(), []
    metadata = json.dumps({"names": sample.names, "texts": sample.texts}, ensure_ascii=False, allow_nan=False)
    for name, data in name_members(sample.key, metadata.encode(), loaded):
        stream.write(_header(name, len(data)))
        ranges.append((stream.tell(), len(data)))
        stream.write(data)
        stream.write(bytes(-len(data) % BLOCK))
    return SampleRow(sample.key, start, stream.tell(), tuple(ranges[1:]), sample.names, tuple(sample.texts))


def _header(name: str, size: int) -> bytes:
    """Make the header of a member, without time or owner: the same data give the same bytes."""
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o444
    return member.tobuf(tarfile.USTAR_FORMAT)
