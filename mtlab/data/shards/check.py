"""A complete check of a folder of shards against its index: files, checksums, members, rows, images and splits."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.images import BadImageError, check_image
from mtlab.data.shards.index import IMAGES_PER_SAMPLE, KEY, Shard, suspicious_sizes
from mtlab.data.shards.samples import BLOCK, SampleRow, member_problem
from mtlab.data.shards.storage import Storage
from mtlab.data.shards.writing.write import count_per_text
from mtlab.errors import UserError, one_line

READ_SIZE = 2**22  #: bytes
Progress = Callable[[int, int], None]  #: shards done, shards in all
Sizes = dict[str, tuple[int, ...]]  #: key of a sample → bytes of its images


@dataclass
class CheckReport:
    """The result of a check."""

    problems: list[str] = field(default_factory=list)  #: FILE: problem
    remarks: list[str] = field(default_factory=list)  #: what looks wrong, but may be intended
    samples: int = 0
    images: int = 0  #: decoded ones


def check_shards(
    shards: ShardFolder, *, images: bool = True, progress: Progress = lambda _done, _whole: None
) -> CheckReport:
    """Check a folder: checksums, structure, names and types of members, counts, labels, ids, images, splits.

    Args:
        shards: the folder.
        images: also decode every image.
        progress: called after each shard.

    """
    report = CheckReport()
    labels = 0
    try:
        labels = len(shards.answers)
    except UserError as error:
        report.problems.append(str(error))
    keys: dict[str, Sizes] = {}
    whole = sum(len(part.shards) for part in shards.index.parts.values())
    done = 0
    for name, part in shards.index.parts.items():
        if not part.texts():
            report.problems.append(f"{shards.storage.name}: {name} is empty")
        sizes, ids, repeated = keys.setdefault(name, {}), set[str](), set[str]()
        for shard in part.shards:
            for problem in _shard_problems(shards, shard, report, sizes, repeated, ids, labels, decode=images):
                report.problems.append(f"{shards.storage.name}/{problem}")
            done += 1
            progress(done, whole)
        if repeated:
            more = f" and {len(repeated) - 1:,} more images" if len(repeated) > 1 else ""
            report.problems.append(f"{shards.storage.name}: {name} has {min(repeated)}{more} twice")
    report.remarks += [*suspicious_sizes(shards.index), *_shared(keys)]
    report.problems += (f"{shards.storage.name}: {problem}" for problem in _contradictions(keys))
    return report


def _shard_problems(
    shards: ShardFolder,
    shard: Shard,
    report: CheckReport,
    sizes: Sizes,
    repeated: set[str],
    ids: set[str],
    labels: int,
    *,
    decode: bool,
) -> Iterator[str]:
    try:
        rows = shards.rows(shard)
    except UserError as error:
        yield f"{shard.rows}: {error.problem}"
        return
    for row in rows:
        if row.key in sizes:
            repeated.add(row.key)
        sizes[row.key] = tuple(size for _, size in row.images)
        yield from (f"{shard.rows}: {row.key}: {problem}" for problem in _row_problems(row, shards, labels, ids))
    if count_per_text(rows) != dict(shard.per_text) or len(rows) != shard.samples:
        yield f"{shard.rows}: has other counts than the index"
    yield from (
        f"{shard.file}: {problem}" for problem in _tar_problems(shards.storage, shard, rows, report, decode=decode)
    )


def _row_problems(row: SampleRow, shards: ShardFolder, labels: int, ids: set[str]) -> Iterator[str]:
    if not KEY.fullmatch(row.key):
        yield "is no name of a sample"
    if len(row.images) != IMAGES_PER_SAMPLE[shards.kind]:
        yield f"has {len(row.images)} images, not {IMAGES_PER_SAMPLE[shards.kind]}"
    if not row.texts:
        yield "has no text"
    for text in row.texts:
        if not isinstance(text.get("text"), str) or not text["text"].strip() or not isinstance(text.get("id"), str):
            yield f"has a text without words or without an id: {text!r}"[:200]
            continue
        if text["id"] in ids:
            yield f"id {text['id']!r} is taken"
        ids.add(text["id"])
        given = [text["label"]] if "label" in text else text.get("labels", [])
        if not all(isinstance(label, int) and 0 <= label < labels for label in given):
            yield f"labels {given!r}: there are {labels} answers"
        if len(text.get("scores", ())) != len(text.get("labels", ())):
            yield f"has {len(text.get('labels', ()))} labels, but {len(text.get('scores', ()))} scores"


def _tar_problems(
    storage: Storage, shard: Shard, rows: list[SampleRow], report: CheckReport, *, decode: bool
) -> Iterator[str]:
    expected = {offset: (row.key, size) for row in rows for offset, size in row.images}
    stream = _HashedStream(storage, shard.file, shard.bytes)
    problems = 0
    try:
        with tarfile.open(fileobj=io.BufferedReader(stream, READ_SIZE), mode="r|") as archive:
            while (member := archive.next()) is not None:
                for problem in _member_problems(archive, member, expected, report, decode=decode):
                    problems += 1
                    yield problem
        stream.drain()
    except FileNotFoundError:
        yield "is missing"
        return
    except (tarfile.TarError, EOFError) as error:
        yield f"is cut off or damaged ({one_line(error)})"
        return
    except UserError as error:
        yield f"{error.problem}"
        return
    if expected and not problems:
        key = next(iter(expected.values()))[0]
        yield f"lacks {len(expected)} images, such as that of {key}"
    elif stream.hash.hexdigest() != shard.sha256 and not problems:
        yield "has another checksum than the index: it was changed, or damaged in copying"


def _member_problems(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    expected: dict[int, tuple[str, int]],
    report: CheckReport,
    *,
    decode: bool,
) -> Iterator[str]:
    if (reason := member_problem(member.name)) is not None:
        yield f"member {member.name!r} {reason}"
        return
    if not member.isreg():
        yield f"member {member.name!r} is no plain file"
        return
    if member.name.endswith(".json"):
        report.samples += 1
        return
    if expected.pop(member.offset_data, None) != (member.name.partition(".")[0], member.size):
        yield f"member {member.name!r} is not where the lines say"
        return
    if decode:
        stream = archive.extractfile(member)
        assert stream is not None, "it is a plain file"
        data = stream.read()
        report.images += 1
        try:
            if len(data) != member.size:
                raise EOFError("unexpected end of data")
            check_image(data)
        except BadImageError as error:
            yield f"{member.name}: {error.problem}"


class _HashedStream(io.RawIOBase):
    """A file of a storage as a stream that hashes what is read."""

    def __init__(self, storage: Storage, file: str, size: int) -> None:
        super().__init__()
        self.hash = hashlib.sha256()
        self._storage, self._file, self._size, self._at = storage, file, size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop == self._at:
            return 0
        data = self._storage.read(self._file, self._at, stop)
        buffer[: len(data)] = data
        self.hash.update(data)
        self._at += len(data)
        return len(data)

    def drain(self) -> None:
        """Read what follows the end of the archive, for the checksum."""
        while self.read(BLOCK * 64):
            pass


def _shared(keys: Mapping[str, Sizes]) -> Iterator[str]:
    """Describe images that are in several parts: intended in some data, a mistake in most."""
    for first, second in combinations(keys, 2):
        if both := keys[first].keys() & keys[second].keys():
            yield f"{len(both):,} images are in {first} and in {second}, such as {min(both)}"


def _contradictions(keys: Mapping[str, Sizes]) -> Iterator[str]:
    """Describe images that share a key but differ in size."""
    for first, second in combinations(keys, 2):
        both = keys[first].keys() & keys[second].keys()
        if other := [key for key in both if keys[first][key] != keys[second][key]]:
            yield f"{min(other)} is another image in {first} than in {second}"
