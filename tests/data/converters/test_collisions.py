"""What has the same name in the raw files is told, never silently taken for the same or written over."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from raw_trees import copied

from mtlab.config.nodes import lookup_options
from mtlab.data.converters.base import CONVERTERS, Annotation, RejectedRow
from mtlab.data.converters.jsonl import JsonlConverter
from mtlab.data.converters.scratch_database import ScratchDatabase
from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.writing.convert import convert
from mtlab.errors import UserError


def listed(out: Path) -> list[str]:
    rows = map(json.loads, (out / "bad.jsonl").read_text().splitlines())
    return [row["reason"] for row in rows if not row["missing"]]


def two_types(root: Path) -> None:
    """Two pictures of Flickr30K whose names differ in their endings alone."""
    path = root / "karpathy/dataset_flickr30k.json"
    data = json.loads(path.read_text())
    first = data["images"][0]
    other = first | {"filename": first["filename"].replace(".jpg", ".png"), "sentences": [{"raw": "another one"}]}
    shutil.copy(root / "flickr30k-images" / first["filename"], root / "flickr30k-images" / other["filename"])
    path.write_text(json.dumps(data | {"images": [*data["images"], other]}))


def one_name_two_links(root: Path) -> None:
    """Two pictures of SBU that were downloaded into one file."""
    path = root / "sbu-captions-all.json"
    data = json.loads(path.read_text())
    data["image_urls"].append(data["image_urls"][0].replace("/1/", "/2/"))
    data["captions"].append("another one")
    path.write_text(json.dumps(data))


def two_pictures_one_row(root: Path) -> None:
    """Two pictures of CC3M that belong to one caption."""
    with (root / "train_image_exist.txt").open("a") as lines:
        lines.write("train_image/0.png\n")


def edited(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / "nlvr2/data/train.json"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, change(rows[0])]))

    return edit


COLLIDING: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "two types": ("flickr30k", two_types, "'4400000.png' is not NUMBER.jpg"),
    "two links": (
        "sbu",
        one_name_two_links,
        "SBU/6224654226_abc.jpg may be the image of http://static.flickr.com/1/",
    ),
    "two pictures": ("cc3m", two_pictures_one_row, "0.png: this row has no caption, or another image"),
    "two ids": ("nlvr2", edited(lambda row: row | {"sentence": "another one"}), "is taken: another row has it"),
    "two folders": (
        "nlvr2",
        edited(lambda row: row | {"identifier": row["identifier"] + "7", "directory": 1}),
        "' here, but 'images/train/",
    ),
}


@pytest.mark.parametrize("case", COLLIDING)
def test_the_second_is_left_out_and_listed(case: str, tmp_path: Path) -> None:
    name, collide, told = COLLIDING[case]
    root = copied(name, tmp_path)
    before = convert(name, root, tmp_path / "before").parts["train"]
    collide(root)
    with pytest.raises(UserError, match="more than --max-bad allows"):
        convert(name, root, tmp_path / "refused", max_bad=0)
    part = convert(name, root, tmp_path / "out", max_bad=0.5).parts["train"]
    (reason,) = listed(tmp_path / "out")
    assert told in reason
    assert (part.images, part.texts(), part.bad) == (before.images, before.texts(), before.bad + 1)
    assert all(record.text != "another one" for record in ShardFolder(tmp_path / "out").records("train"))


def test_a_picture_with_several_captions_under_one_link_is_no_collision(tmp_path: Path) -> None:
    root = copied("sbu", tmp_path)
    path = root / "sbu-captions-all.json"
    data = json.loads(path.read_text())
    data = {"image_urls": [*data["image_urls"], data["image_urls"][0]], "captions": [*data["captions"], "once more"]}
    path.write_text(json.dumps(data))
    index = convert("sbu", root, tmp_path / "out", max_bad=0)
    records = [record for record in ShardFolder(tmp_path / "out").records("train") if "6224654226" in record.images[0]]
    assert [record.text for record in records] == ["Sky dog grass umbrella tree person.", "once more"]
    assert index.parts["train"].bad == 0


SPLIT_BY_HASH: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    "a group that comes later": (
        "captions",
        [{"image": "a.png", "caption": "one"}, {"image": "a.png", "caption": "two", "group": "scene"}],
        "group: 'a.png' has 'scene' here and none before",
    ),
    "a pair with another's image": (
        "pairs",
        [
            {"images": ["a.png", "b.png"], "statement": "one", "label": True},  # by a hash: a is in train, e in test
            {"images": ["e.png", "b.png"], "statement": "two", "label": True},
        ],
        "images: 'b.png' is in train by another pair: give pairs that share images one group",
    ),
}


@pytest.mark.parametrize("case", SPLIT_BY_HASH)
def test_no_image_falls_into_two_splits(case: str, tmp_path: Path) -> None:
    kind, lines, told = SPLIT_BY_HASH[case]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    converter = JsonlConverter(tmp_path, JsonlConverter.Config(kind=kind, shares=(0.1, 0.4)))
    kept, rejected = converter.rows(ScratchDatabase(tmp_path / "scratch.db"))
    assert isinstance(kept, Annotation)
    assert isinstance(rejected, RejectedRow)
    assert rejected.reason == told


def test_a_split_that_too_few_images_leave_empty_is_told_with_what_helps(tmp_path: Path) -> None:
    lines = [json.dumps({"image": f"{number}.png", "caption": "a cup"}) for number in range(5)]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    told = "val has no row that can be used: no line falls to it: give more images, or say `split` in each line"
    with pytest.raises(UserError, match=told):
        convert("jsonl", tmp_path, tmp_path / "out", {"kind": "captions"})


def test_pairs_of_one_group_may_share_images(tmp_path: Path) -> None:
    line = {"statement": "so", "label": True, "group": "scene"}
    pairs = [{**line, "images": [image, "b.png"]} for image in ("a.png", "e.png")]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    converter = JsonlConverter(tmp_path, JsonlConverter.Config(kind="pairs"))
    first, second = converter.rows(ScratchDatabase(tmp_path / "scratch.db"))
    assert first.part == second.part


def test_one_key_for_other_pictures_in_another_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts may share pictures where a converter says so; a key that means another picture is refused."""
    (tmp_path / "raw/images").mkdir(parents=True)
    picture = next(copied("sbu", tmp_path / "sbu").glob("SBU/*.jpg"))
    for split in ("train", "val", "test"):
        shutil.copy(picture, tmp_path / f"raw/images/{split}.jpg")
        line = {"image": f"{split}.jpg", "caption": f"of {split}"}
        (tmp_path / f"raw/{split}.jsonl").write_text(json.dumps(line) + "\n")
    assert not lookup_options(CONVERTERS, {"name": "jsonl"}, "")[0].cls.disjoint
    real = JsonlConverter.rows

    def same_key(self: JsonlConverter, scratch: Any) -> Any:
        for row in real(self, scratch):
            assert isinstance(row, Annotation)
            yield Annotation(row.part, "same", row.images, row.texts, row.place)

    monkeypatch.setattr(JsonlConverter, "rows", same_key)
    with pytest.raises(UserError, match="raw: same is another image in test than in train"):
        convert("jsonl", tmp_path / "raw", tmp_path / "out", {"kind": "captions"})
    assert not (tmp_path / "out/index.json").exists()
