"""NLVR²: is a sentence true of two images?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mtlab.data.converters.annotation_files import field, number_field, stream_json_lines, text_field
from mtlab.data.converters.base import Annotation, BadRowError, Converter, RejectedRow, register_converter
from mtlab.data.converters.scratch_database import ScratchDatabase
from mtlab.data.shards.index import CLASSES

SUBSETS = ("balanced", "unbalanced")


@register_converter("nlvr2")
class Nlvr2Converter(Converter):
    """NLVR². Parts train, dev, test1; where their files are there, subsets balanced and unbalanced of dev and test1."""

    kind = "pairs"
    all_parts = ("train", "dev", "test1")
    layout = (
        "nlvr2/data/{train,dev,test1}.json, nlvr2/data/{balanced,unbalanced}/… (optional), images/train/NUMBER/, dev/, "
        "test1/"
    )

    def sources(self) -> Sequence[str]:
        """Return the files of sentences; those of subsets if they are there."""
        subsets = [name for part in self.parts for name in _subsets(part).values() if (self.root / name).is_file()]
        return [_file(part) for part in self.parts] + subsets

    def rows(self, scratch: ScratchDatabase) -> Iterator[Annotation | RejectedRow]:
        """Match the sentences with those of the subsets."""
        for part in self.parts:
            sets = {name: file for name, file in _subsets(part).items() if file in self.sources()}
            in_sets = (
                (row["identifier"], name)
                for name, file in sets.items()
                for _, row in stream_json_lines(self.root / file)
                if isinstance(row, dict) and isinstance(row.get("identifier"), str)
            )
            yield from self._part(part, scratch, in_sets)

    def _part(
        self, part: str, scratch: ScratchDatabase, in_sets: Iterator[tuple[str, str]]
    ) -> Iterator[Annotation | RejectedRow]:
        table = scratch.store("id, name", in_sets)
        scratch.execute(f"create index {table}_id on {table} (id)")
        for place, row in stream_json_lines(self.root / _file(part)):
            try:
                identifier = text_field(row, "identifier")
                names = scratch.execute(f"select name from {table} where id = ? order by name", (identifier,))
                yield _annotation(part, place, row, [name for (name,) in names])
            except BadRowError as error:
                yield RejectedRow(part, place, str(error))


def _annotation(part: str, place: str, row: Mapping[str, Any], sets: list[str]) -> Annotation:
    identifier, label = text_field(row, "identifier"), str(field(row, "label"))
    pair, _, sentence = identifier.rpartition("-")
    if not pair.startswith(f"{part}-") or not sentence:
        raise BadRowError(f"identifier: {identifier!r} is not {part}-SET-PAIR-SENTENCE")
    if label not in CLASSES["pairs"]:
        raise BadRowError(f"label: {label!r} is neither True nor False")
    folder = f"images/train/{number_field(row, 'directory')}" if part == "train" else part
    fields: dict[str, Any] = {
        "id": identifier,
        "text": text_field(row, "sentence"),
        "label": CLASSES["pairs"].index(label),
        "group": pair.rpartition("-")[0],  # pairs of a set share images and sentences
    }
    if sets:
        fields |= {"sets": sets, "family": "+".join(sets)}
    return Annotation(part, pair, tuple(f"{folder}/{pair}-img{at}.png" for at in range(2)), (fields,), place)


def _file(part: str) -> str:
    return f"nlvr2/data/{part}.json"


def _subsets(part: str) -> dict[str, str]:
    return {} if part == "train" else {name: f"nlvr2/data/{name}/{name}_{part}.json" for name in SUBSETS}
