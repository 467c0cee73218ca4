"""Writing one shard: its tar file, its lines, and what is to be known of both; each there whole or not at all.

No torch here, and therefore no webdataset, which imports it: a conversion runs many small processes. What makes a tar
file a WebDataset is its names; that webdataset reads ours is tested.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mtlab import files
from mtlab.data.converters.base import RejectedRow
from mtlab.data.shards import images
from mtlab.data.shards.index import Shard
from mtlab.data.shards.samples import BLOCK, SampleRow, name_members, row_to_line
from mtlab.data.shards.writing import staging


@dataclass(frozen=True)
class ShardJob:
    """Which samples go into which shard."""

    staged: Path  #: the finished staging
    root: Path  #: the images' paths start here
    out: Path
    state: Path  #: where what is known of the shard is written, last of all
    losses_expected: bool  #: is an image that is not there no fault?
    part: str = ""
    number: int = 0
    first: int = 0  #: number of the first sample
    last: int = 0  #: one past that of the last

    @property
    def file(self) -> str:
        """Name of the shard."""
        return f"{self.part}-{self.number:06d}.tar"

    @property
    def facts(self) -> Path:
        """File of what is known of the shard."""
        return self.state / f"{self.part}-{self.number:06d}.json"


@dataclass(frozen=True)
class WrittenShard:
    """A finished shard, and what was left out of it."""

    shard: Shard
    bad: tuple[RejectedRow, ...]


def write(job: ShardJob) -> WrittenShard:
    """Write a shard; one that is there already is only looked up.

    Raises:
        UserError: the disk is full or may not be written.

    """
    known = read_facts(job.facts)
    if known is not None:
        return known
    bad: list[RejectedRow] = []
    target, lines = job.out / job.file, job.out / f"{Path(job.file).stem}.jsonl"
    with (
        files.atomic_write(target) as target_scratch,
        files.atomic_write(lines) as lines_scratch,
        target_scratch.open("wb") as archive,
        lines_scratch.open("wb") as listing,
    ):
        counts = per_text(_rows(job, archive, listing, bad))
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
    files.write_json(job.facts, {"shard": asdict(shard), "bad": [asdict(each) for each in bad]})
    return written


def _rows(job: ShardJob, archive: BinaryIO, listing: BinaryIO, bad: list[RejectedRow]) -> Iterator[SampleRow]:
    """Write the samples one by one, into the shard and the list; give each when it is written."""
    for sample in staging.read(job.staged, job.part, job.first, job.last):
        bad += sample.refused
        try:
            loaded = [images.read(job.root / name) for name in sample.images]
        except images.BadImageError as error:
            missing = job.losses_expected and isinstance(error, images.MissingImageError)
            told = f"{', '.join(sample.images)}: {error}"
            bad.append(RejectedRow(job.part, sample.place, told, missing=missing, texts=len(sample.texts)))
            continue
        row = _append(archive, sample, loaded)
        listing.write(row_to_line(row))
        yield row


def read_facts(path: Path) -> WrittenShard | None:
    """Read what is known of a finished shard; None: it is not finished."""
    try:
        data = files.read_json(path)
    except FileNotFoundError:
        return None
    shard = data["shard"]
    counts = {subset: tuple(numbers) for subset, numbers in shard["per_text"].items()}
    return WrittenShard(Shard(**{**shard, "per_text": counts}), tuple(RejectedRow(**each) for each in data["bad"]))


def per_text(rows: Iterable[SampleRow]) -> Mapping[str, tuple[int, ...]]:
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


def _append(stream: BinaryIO, sample: staging.Sample, loaded: Sequence[bytes]) -> SampleRow:
    """Append the members of a sample to a tar file; tell where they lie."""
    start, places = stream.tell(), []
    about = json.dumps({"names": sample.names, "texts": sample.texts}, ensure_ascii=False, allow_nan=False)
    for name, data in name_members(sample.key, about.encode(), loaded):
        stream.write(_header(name, len(data)))
        places.append((stream.tell(), len(data)))
        stream.write(data)
        stream.write(bytes(-len(data) % BLOCK))
    return SampleRow(sample.key, start, stream.tell(), tuple(places[1:]), sample.names, tuple(sample.texts))


def _header(name: str, size: int) -> bytes:
    """Make the header of a member: nothing in it depends on when, where or by whom it is written."""
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o444
    return member.tobuf(tarfile.USTAR_FORMAT)
