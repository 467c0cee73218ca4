"""Selections of texts in a folder of shards: a part, one of its subsets, or a slice of either by images.

>>> parse_selection("val/answerable[:-1000]")
Selection(part='val', subset='answerable', first=None, last=-1000)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mtlab.data.shards.index import Part, Shard, ShardIndex
from mtlab.errors import UserError, nearest

_WRITTEN = re.compile(r"([A-Za-z0-9_-]+)(?:/([A-Za-z0-9_-]+))?(?:\[(-?\d+)?:(-?\d+)?\])?")


@dataclass(frozen=True, slots=True)
class Selection:
    """Some texts of a part of a folder."""

    part: str
    subset: str = ""  #: only texts of this subset; "": all
    first: int | None = None  #: images from this one on, as in a Python slice of the part's samples
    last: int | None = None  #: to before this one

    def __str__(self) -> str:
        subset = f"/{self.subset}" if self.subset else ""
        if self.first is None and self.last is None:
            return self.part + subset
        first, last = ("" if bound is None else bound for bound in (self.first, self.last))
        return f"{self.part}{subset}[{first}:{last}]"


def parse_selection(written: str) -> Selection:
    """Parse a selection: PART, PART/SUBSET, PART[FIRST:LAST] or PART/SUBSET[FIRST:LAST].

    Raises:
        UserError: it has none of these forms.

    """
    match = _WRITTEN.fullmatch(written)
    if match is None:
        raise UserError(
            f"{written!r} is no selection: write PART, PART/SUBSET or PART[FIRST:LAST], such as val[:-1000]"
        )
    part, subset, first, last = match.groups()
    return Selection(part, subset or "", None if first is None else int(first), None if last is None else int(last))


@dataclass(frozen=True, slots=True)
class ShardSlice:
    """Consecutive samples of one shard."""

    shard: Shard
    first: int
    last: int  #: to before this one

    @property
    def whole(self) -> bool:
        """True if it is the whole shard."""
        return self.first == 0 and self.last == self.shard.samples


def find_part(index: ShardIndex, selection: Selection) -> Part:
    """Look up the part of a selection.

    Raises:
        UserError: the folder has no such part or subset.

    """
    if selection.part not in index.parts:
        raise UserError(f"{index.name} has no part {selection.part!r}; {nearest(selection.part, index.parts)}")
    part = index.parts[selection.part]
    if selection.subset and selection.subset not in part.subsets:
        raise UserError(
            f"{index.name} has no {selection.subset!r} in {selection.part}; {nearest(selection.subset, part.subsets)}"
        )
    return part


def shared_images(index: ShardIndex, one: Selection, other: Selection) -> int:
    """Count the images that two selections of one part have in common.

    Raises:
        UserError: as `find_part`.

    """
    images = find_part(index, one).images
    spans = [range(*slice(each.first, each.last).indices(images)) for each in (one, other)]
    return max(0, min(span.stop for span in spans) - max(span.start for span in spans))


def find_slices(index: ShardIndex, selection: Selection) -> Iterator[ShardSlice]:
    """Find the samples of a selection, shard by shard.

    Raises:
        UserError: as `find_part`.

    """
    part = find_part(index, selection)
    wanted_first, wanted_last, _ = slice(selection.first, selection.last).indices(part.images)
    start = 0
    for shard in part.shards:
        first, last = max(wanted_first - start, 0), min(wanted_last - start, shard.samples)
        if first < last:
            yield ShardSlice(shard, first, last)
        start += shard.samples
