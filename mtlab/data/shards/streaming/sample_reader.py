"""Reading neighbouring samples of a shard in one piece, as webdataset reads tar files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.index import IMAGES_PER_SAMPLE
from mtlab.data.shards.samples import member_problem
from mtlab.data.shards.selection import Stretch
from mtlab.data.shards.streaming.sample_table import SampleTable
from mtlab.errors import UserError

GAP = 2**20  #: bytes; to pass over fewer costs less than to read anew


@dataclass(frozen=True)
class RawSample:
    """A sample, as it lies in the shard."""

    key: str
    names: tuple[str, ...]  #: what the source calls the images
    texts: tuple[Any, ...]
    images: tuple[bytes, ...]


def read_samples(
    shards: ShardFolder, stretch: Stretch, layout: SampleTable, places: Sequence[int]
) -> dict[int, RawSample]:
    """Read some samples of a stretch, neighbours in one piece.

    Args:
        shards: the folder.
        stretch: the samples' stretch.
        layout: of the stretch.
        places: in the stretch, from 0.

    Raises:
        LostError: the shard cannot be read any more.
        UserError: the shard is damaged, or holds what it may not.

    """
    where = f"{shards.place.name}/{stretch.shard.file}"
    found: dict[int, RawSample] = {}
    for first, last in _pieces(sorted(set(places)), layout):
        piece = shards.piece(stretch.shard, int(layout.starts[first]), int(layout.ends[last]))
        samples = _samples(piece, where)
        if [sample.key for sample in samples] != list(layout.keys[first : last + 1]):
            raise UserError(
                f"has something else where {layout.keys[first]} should be: copy or convert the shards anew", file=where
            )
        for sample in samples:
            if len(sample.images) != IMAGES_PER_SAMPLE[shards.kind]:
                count = len(sample.images)
                raise UserError(f"{sample.key} has {count} images, not {IMAGES_PER_SAMPLE[shards.kind]}", file=where)
        found |= zip(range(first, last + 1), samples, strict=True)
    return found


def _pieces(places: Sequence[int], layout: SampleTable) -> Iterator[tuple[int, int]]:
    """Cut ascending places where too much that is not wanted would be read; give first and last of each piece."""
    first = before = places[0]
    for place in places[1:]:
        if layout.starts[place] - layout.ends[before] > GAP:
            yield first, before
            first = place
        before = place
    yield first, before


def _samples(piece: bytes, where: str) -> list[RawSample]:
    from webdataset.tariterators import group_by_keys, tar_file_expander

    def allowed(name: str) -> bool:
        if (reason := member_problem(name)) is not None:
            raise UserError(f"member {name!r} {reason}", file=where)
        return True

    try:
        files = tar_file_expander([{"url": where, "stream": io.BytesIO(piece)}], select_files=allowed)
        return [_taken(sample) for sample in group_by_keys(files)]
    except UserError:
        raise
    except Exception as error:  # of tarfile, json, webdataset: all mean the same here
        told = " ".join(str(error.args[0] if error.args else error).split())[:200]
        raise UserError(f"is damaged ({told}): copy or convert the shards anew", file=where) from None


def _taken(sample: dict[str, Any]) -> RawSample:
    about = json.loads(sample["json"])
    types = sorted(kind for kind in sample if not kind.startswith("__") and kind != "json")  # 0.jpg before 1.jpg
    return RawSample(
        sample["__key__"], tuple(about["names"]), tuple(about["texts"]), tuple(sample[kind] for kind in types)
    )
