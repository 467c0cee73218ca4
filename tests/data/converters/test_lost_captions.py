"""No caption and no image is left out uncounted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raw_trees import copied

from mtlab.data.shards.writing.convert import convert

FLICKR30K = "karpathy/dataset_flickr30k.json"
VG = "annotations/region_descriptions.json"


def converted(name: str, file: str, tmp_path: Path, change: Callable[[Any], None]) -> tuple[int, int, list[str]]:
    """Return the texts of `train` that a change costs, how many rows are bad, and why."""
    root = copied(name, tmp_path)
    before = convert(name, root, tmp_path / "before").parts["train"]
    data = json.loads((root / file).read_text())
    change(data)
    (root / file).write_text(json.dumps(data))
    part = convert(name, root, tmp_path / "out", max_bad=0.5).parts["train"]
    listed = (tmp_path / "out/bad.jsonl").read_text().splitlines()
    return before.texts() - part.texts(), part.bad - before.bad, [json.loads(line)["reason"] for line in listed]


def test_a_bad_caption_costs_itself_alone_and_an_image_without_any_is_told(tmp_path: Path) -> None:
    lost: list[int] = []

    def change(data: Any) -> None:
        first, second = [image for image in data["images"] if image["split"] == "train"][:2]
        lost.append(1 + len(second["sentences"]))
        first["sentences"][1]["raw"], second["sentences"] = " ", []

    expected = (2, ["raw: is empty", "sentences: there are none"])
    assert converted("flickr30k", FLICKR30K, tmp_path, change) == (*lost, *expected)


def test_an_image_without_regions_is_told(tmp_path: Path) -> None:
    lost: list[int] = []

    def change(data: Any) -> None:
        lost.append(len(data[0]["regions"]))
        data[0] |= {"id": 1, "regions": []}

    texts, bad, reasons = converted("vg", VG, tmp_path, change)
    assert (texts, bad) == (*lost, 1)
    assert "regions: there are none" in reasons
