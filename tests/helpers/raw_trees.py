"""The raw trees of tests/golden/datasets, and what is in shards, in the words of the expected rows."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.samples import in_subset
from mtlab.data.shards.selection import parse_selection

GOLDEN = Path(__file__).parents[1] / "golden/datasets"
MSCOCO = "mscoco_flickr30k_vqav2_snli_ve"
ROOTS = {
    "vqav2": MSCOCO,
    "snli_ve": MSCOCO,
    "coco": MSCOCO,
    "flickr30k": MSCOCO,
    "nlvr2": "nlvr",
    "cc3m": "cc",
    "sbu": "sbu",
    "vg": "vg",
}


def raw(name: str) -> Path:
    """The raw files of a data set."""
    return GOLDEN / "raw" / ROOTS[name]


def copied(name: str, folder: Path) -> Path:
    """A copy of the raw files that may be changed."""
    return Path(shutil.copytree(raw(name), folder / "raw", copy_function=shutil.copyfile))


def expected(table: str, group: str = "with_answer_normalization_fix") -> list[dict[str, Any]]:
    """The rows that the authors' scripts write."""
    return json.loads((GOLDEN / "expected_rows.json").read_text())[group][table]["rows"]


def samples(shards: ShardFolder, selection: str) -> Iterator[tuple[Any, list[dict[str, Any]], list[str]]]:
    """Give each sample of a selection: the row, those of its texts that are selected, the SHA-1 of its images."""
    wanted = parse_selection(selection)
    for each in shards.slices(selection):
        for row in shards.rows(each.shard)[each.first : each.last]:
            texts = [dict(text) for text in row.texts if in_subset(text, wanted.subset)]
            keys = [row.key] if len(row.images) == 1 else [f"{row.key}.{at}" for at in range(len(row.images))]
            if texts:
                yield row, texts, [f"sha1:{hashlib.sha1(shards.image_bytes(key)).hexdigest()}" for key in keys]
