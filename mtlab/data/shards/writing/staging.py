"""The annotations of a conversion, sorted on disk by part and in a fixed random order of samples.

The order is a hash of the samples' keys. Neighbours in a shard are therefore unrelated, and the same raw files always
give the same shards.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any

from mtlab.data.converters.base import Annotation, RejectedRow
from mtlab.data.converters.scratch_database import ScratchDatabase
from mtlab.data.shards.index import KEY


@dataclass
class StagedSample:
    """A sample of a shard, without the bytes of its images."""

    part: str
    key: str
    images: tuple[str, ...]  #: files, relative to the root
    names: tuple[str, ...]  #: the images' names in the source
    texts: list[dict[str, Any]]
    place: str  #: file and line of the first annotation
    rejected: list[RejectedRow]  #: rows that name another image under this key


@dataclass
class Staging:
    """Annotations on disk. First `add` all, then `sort`; then several processes can read samples.

    Args:
        scratch: the database.

    """

    scratch: ScratchDatabase
    texts: dict[str, int] = field(default_factory=dict)  #: part → accepted texts

    def __post_init__(self) -> None:
        self.scratch.execute("create table rows (part text, place int, key text, line text)")
        self.scratch.execute("create table ids (part text, id text, unique (part, id))")

    def add(self, rows: Iterator[Annotation | RejectedRow]) -> Iterator[RejectedRow]:
        """Store annotations; yield the rejected rows."""
        database = self.scratch.database
        self.scratch.execute("begin")
        for row in rows:
            if isinstance(row, RejectedRow):
                yield row
                continue
            texts: list[Any] = []
            repeated: list[Any] = []
            for text in row.texts:
                (repeated if self._is_repeated(row.part, text) else texts).append(text)
            for text in repeated:
                yield RejectedRow(row.part, row.place, f"id {text['id']!r} is taken: another row has it")
            if not KEY.fullmatch(row.key):
                yield RejectedRow(row.part, row.place, f"{row.key!r} is no name of an image", texts=len(texts))
                continue
            if texts:
                line = json.dumps([row.images, row.names or [Path(name).name for name in row.images], texts, row.place])
                database.execute("insert into rows values (?,?,?,?)", (row.part, _place(row), row.key, line))
                self.texts[row.part] = self.texts.get(row.part, 0) + len(texts)
        self.scratch.execute("commit")

    def _is_repeated(self, part: str, text: Any) -> bool:
        if "id" not in text:
            return False
        inserted = self.scratch.database.execute("insert or ignore into ids values (?,?)", (part, text["id"]))
        return inserted.rowcount == 0

    def sort(self) -> None:
        """Number the samples of each part in their order."""
        self.scratch.execute("drop table ids")
        self.scratch.execute("create index by_place on rows (part, place, key)")
        self.scratch.execute(
            "create table samples as select part, place, key, "
            "row_number() over (partition by part order by place, key) - 1 as number "
            "from (select distinct part, place, key from rows)"
        )
        self.scratch.execute("create index by_number on samples (part, number)")

    def samples(self, part: str) -> int:
        """Count the samples of a part."""
        (count,) = self.scratch.execute("select count(*) from samples where part = ?", (part,)).fetchone()
        return int(count)

    def shared(self) -> tuple[int, str, tuple[str, ...]] | None:
        """Find images that are in several parts: their number, one of them, and its parts."""
        twice = "select key from samples group by key having count(*) > 1"
        (count,) = self.scratch.execute(f"select count(*) from ({twice})").fetchone()
        if not count:
            return None
        (key,) = self.scratch.execute(f"{twice} order by key limit 1").fetchone()
        parts = self.scratch.execute("select part from samples where key = ? order by part", (key,)).fetchall()
        return int(count), str(key), tuple(part for (part,) in parts)

    def conflicting(self) -> tuple[str, tuple[str, ...]] | None:
        """Find a key whose images differ between parts: the key, and its parts."""
        images = "select distinct key, part, json_extract(line, '$[0]') as images from rows"
        found = self.scratch.execute(
            f"select key from ({images}) group by key having count(distinct part) > 1 and count(distinct images) > 1 "
            "order by key limit 1"
        ).fetchone()
        if found is None:
            return None
        parts = self.scratch.execute("select distinct part from rows where key = ? order by part", found).fetchall()
        return str(found[0]), tuple(part for (part,) in parts)


def _place(row: Annotation) -> int:
    """Hash a sample's key to its position in the order of its part."""
    return int.from_bytes(blake2b(f"{row.part}/{row.key}".encode(), digest_size=8).digest(), signed=True)


def read_samples(path: Path, part: str, first: int, last: int) -> Iterator[StagedSample]:
    """Read the samples of a part from number `first` to before `last`, from a sorted database."""
    database = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)  # #, ? and % of the path are quoted
    try:
        rows = database.execute(
            "select r.key, r.line from samples s "
            "join rows r on r.part = s.part and r.place = s.place and r.key = s.key "
            "where s.part = ? and s.number >= ? and s.number < ? order by s.number, r.rowid",
            (part, first, last),
        )
        for key, lines in groupby(rows, key=lambda row: row[0]):
            yield _sample(part, key, [json.loads(line) for _, line in lines])
    finally:
        database.close()


def _sample(part: str, key: str, lines: Sequence[Any]) -> StagedSample:
    images, names, _, place = lines[0]
    texts, rejected = [], []
    for other, _, more, elsewhere in lines:
        if other == images:
            texts += more
        else:
            reason = f"{key} is {other[0]!r} here, but {images[0]!r} at {place}"
            rejected.append(RejectedRow(part, elsewhere, reason, texts=len(more)))
    for at, text in enumerate(texts):
        text.setdefault("id", f"{key}#{at}")
    return StagedSample(part, key, tuple(images), tuple(names), texts, place, rejected)
