"""Looking through a whole folder of shards: is everything there, whole, and what the index says?"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.images import BadImageError
from mtlab.data.shards.images import check as check_image
from mtlab.data.shards.index import IMAGES_PER_SAMPLE, KEY, Shard, suspicious_sizes
from mtlab.data.shards.samples import BLOCK, SampleRow, member_problem
from mtlab.data.shards.storage import Storage
from mtlab.data.shards.writing.write import per_text
from mtlab.errors import UserError

PIECE = 2**22  #: bytes read at a time
Progress = Callable[[int, int], None]  #: shards done, shards in all


Sizes = dict[str, tuple[int, ...]]  #: key of a sample → bytes of its images


@dataclass
class Seen:
    """The samples of a part, as far as they were looked at."""

    sizes: Sizes
    twice: set[str] = field(default_factory=set)  #: keys

    def add(self, key: str, sizes: tuple[int, ...]) -> None:
        """Take one more."""
        if key in self.sizes:
            self.twice.add(key)
        self.sizes[key] = sizes


@dataclass
class CheckReport:
    """What was found."""

    problems: list[str] = field(default_factory=list)  #: FILE: what is wrong
    remarks: list[str] = field(default_factory=list)  #: what a user should know, but may be meant so
    samples: int = 0
    images: int = 0  #: decoded ones


def check(shards: ShardFolder, *, images: bool = True, progress: Progress = lambda _done, _whole: None) -> CheckReport:
    """Check a folder: checksums, structure, names and types of members, counts, labels, ids, images, splits.

    Args:
        shards: the folder.
        images: decode every image, too.
        progress: called after each shard.

    """
    found = CheckReport()
    labels = 0
    try:
        labels = len(shards.answers)
    except UserError as error:
        found.problems.append(str(error))
    keys: dict[str, Sizes] = {}
    whole = sum(len(part.shards) for part in shards.index.parts.values())
    done = 0
    for name, part in shards.index.parts.items():
        if not part.texts():
            found.problems.append(f"{shards.storage.name}: {name} is empty")
        seen, ids = Seen(keys.setdefault(name, {})), set[str]()
        for shard in part.shards:
            for problem in _shard_problems(shards, shard, found, seen, ids, labels, decode=images):
                found.problems.append(f"{shards.storage.name}/{problem}")
            done += 1
            progress(done, whole)
        if seen.twice:
            more = f" and {len(seen.twice) - 1:,} more images" if len(seen.twice) > 1 else ""
            found.problems.append(f"{shards.storage.name}: {name} has {min(seen.twice)}{more} twice")
    found.remarks += [*suspicious_sizes(shards.index), *_shared(keys)]
    found.problems += (f"{shards.storage.name}: {problem}" for problem in _contradictions(keys))
    return found


def _shard_problems(
    shards: ShardFolder, shard: Shard, found: CheckReport, seen: Seen, ids: set[str], labels: int, *, decode: bool
) -> Iterator[str]:
    try:
        rows = shards.rows(shard)
    except UserError as error:
        yield f"{shard.rows}: {error.problem}"
        return
    for row in rows:
        seen.add(row.key, tuple(size for _, size in row.images))
        yield from (f"{shard.rows}: {row.key}: {problem}" for problem in _row_problems(row, shards, labels, ids))
    if per_text(rows) != dict(shard.per_text) or len(rows) != shard.samples:
        yield f"{shard.rows}: has other counts than the index"
    yield from (
        f"{shard.file}: {problem}" for problem in _tar_problems(shards.storage, shard, rows, found, decode=decode)
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
    place: Storage, shard: Shard, rows: list[SampleRow], found: CheckReport, *, decode: bool
) -> Iterator[str]:
    expected = {offset: (row.key, size) for row in rows for offset, size in row.images}
    stream = _Hashed(place, shard.file, shard.bytes)
    problems = 0
    try:
        with tarfile.open(fileobj=io.BufferedReader(stream, PIECE), mode="r|") as archive:
            while (member := archive.next()) is not None:
                for problem in _member_problems(archive, member, expected, found, decode=decode):
                    problems += 1
                    yield problem
        stream.drain()
    except FileNotFoundError:
        yield "is missing"
        return
    except (tarfile.TarError, EOFError) as error:
        yield f"is cut off or damaged ({' '.join(str(error).split())})"
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
    found: CheckReport,
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
        found.samples += 1
        return
    if expected.pop(member.offset_data, None) != (member.name.partition(".")[0], member.size):
        yield f"member {member.name!r} is not where the lines say"
        return
    if decode:
        held = archive.extractfile(member)
        assert held is not None, "it is a plain file"
        data = held.read()
        found.images += 1
        try:
            if len(data) != member.size:
                raise EOFError("unexpected end of data")
            check_image(data)
        except BadImageError as error:
            yield f"{member.name}: {error.problem}"


class _Hashed(io.RawIOBase):
    """A file of a place as a stream, hashed as it goes by."""

    def __init__(self, place: Storage, file: str, size: int) -> None:
        super().__init__()
        self.hash = hashlib.sha256()
        self._place, self._file, self._size, self._at = place, file, size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop == self._at:
            return 0
        data = self._place.read(self._file, self._at, stop)
        buffer[: len(data)] = data
        self.hash.update(data)
        self._at += len(data)
        return len(data)

    def drain(self) -> None:
        """Read what follows the end of the archive."""
        while self.read(BLOCK * 64):
            pass


def _shared(keys: Mapping[str, Sizes]) -> Iterator[str]:
    """Tell of images that are in several parts: right in some data, a mistake in most."""
    for first, second in combinations(keys, 2):
        if both := keys[first].keys() & keys[second].keys():
            yield f"{len(both):,} images are in {first} and in {second}, such as {min(both)}"


def _contradictions(keys: Mapping[str, Sizes]) -> Iterator[str]:
    """Tell of images that have one key, but are not the same."""
    for first, second in combinations(keys, 2):
        both = keys[first].keys() & keys[second].keys()
        if other := [key for key in both if keys[first][key] != keys[second][key]]:
            yield f"{min(other)} is another image in {first} than in {second}"
