"""Worlds as raw files in public layouts: the field's converters read them, and find what the world itself tells."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mtlab.config.nodes import lookup_options
from mtlab.data.base import DATASETS, SPLITS, Dataset
from mtlab.data.raw.make import LAYOUTS, layout_of, make
from mtlab.data.raw.numbered_images import BLOCK, numbered_images
from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.writing.convert import convert
from mtlab.errors import UserError

SMALL = {"train": 48, "val": 24, "test": 24}
PARTS = {
    "vqav2": ("train", "val", "test"),
    "flickr30k": ("train", "val", "test"),
    "snli_ve": ("train", "dev", "test"),
    "nlvr2": ("train", "dev", "test1"),
}


def keys(layout: str, part: str, number: int) -> tuple[str, ...]:
    """How the field's converters call the images of a picture, or of a pair, with this number."""
    if layout == "vqav2":
        return (f"COCO_{part}{2015 if part == 'test' else 2014}_{number:012d}",)
    four, pair = divmod(number % BLOCK, 2)  # two pairs of `shapes_pairs` have the same two statements
    return tuple(f"{part}-{four}-{pair}.{side}" for side in range(2)) if layout == "nlvr2" else (str(number),)


def silent(*_: Any) -> None:
    """Show no progress."""


def opened(name: str, options: dict[str, Any]) -> Dataset:
    entry, config = lookup_options(DATASETS, {"name": name, **options}, "data")
    return entry.cls(config)


def written(name: str, options: dict[str, Any], folder: Path) -> tuple[str, ShardFolder]:
    """Write a world, convert what was written, and open the shards."""
    made = make(name, options, folder / "raw", silent)
    converting = {"min_count": 1} if made.layout == "vqav2" else {}
    index = convert(made.layout, folder / "raw", folder / "shards", converting)
    assert all(part.bad == 0 for part in index.parts.values())
    return made.layout, ShardFolder(str(folder / "shards"))


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("shapes", "vqav2"),
        ("shapes_captions", "flickr30k"),
        ("shapes_entailment", "snli_ve"),
        ("shapes_pairs", "nlvr2"),
    ],
)
def test_converted_files_hold_the_same_examples(name: str, layout: str, tmp_path: Path) -> None:
    data = opened(name, SMALL)
    found, shards = written(name, SMALL, tmp_path)
    assert found == layout
    for split, part in zip(SPLITS, PARTS[layout], strict=True):
        examples = data.examples(split)
        records = {record.id: record for record in shards.records(part)}
        assert len(records) == len(examples) == SMALL[split]
        told = {(record.text, right(record, shards), len(record.images)) for record in records.values()}
        hidden = layout == "vqav2" and split == "test"  # as published: questions alone
        answers = {index: answer.lower() for index, answer in enumerate(data.answers)} | {-1: None}
        assert told == {(each.text, None if hidden else answers[each.target], len(each.images)) for each in examples}
        texts: dict[tuple[str, ...], list[str]] = {}
        for record in records.values():
            texts.setdefault(record.images, []).append(record.text)
        for picture in numbered_images(data, split):
            images = keys(layout, part, picture.number)
            assert sorted(texts.pop(images)) == sorted(example.text for example in picture.examples)
            for image, own in zip(images, picture.keys, strict=True):
                apart = abs(shards.image(image).astype(int) - data.image(own))
                assert apart.mean() < (3 if layout != "nlvr2" else 1e-9)  # JPEG changes a little, PNG nothing
        assert not texts


def test_pairs_that_were_drawn_together_stay_one_cluster(tmp_path: Path) -> None:
    data = opened("shapes_pairs", SMALL)
    _, shards = written("shapes_pairs", SMALL, tmp_path)
    clusters = [
        sorted(Counter(each.cluster for each in found.examples("test")).values())
        for found in (data, opened("nlvr2", {"folder": str(shards.storage.name)}))
    ]
    assert clusters[0] == clusters[1]


def right(record: Any, shards: ShardFolder) -> str | None:
    """The right answer of a record, in words."""
    if record.label is not None:
        return shards.answers[record.label].lower()
    return shards.answers[record.scores[0][0]] if record.scores else None


def test_premises_are_those_of_their_pictures(tmp_path: Path) -> None:
    data = opened("shapes_entailment", SMALL)
    _, shards = written("shapes_entailment", SMALL, tmp_path)
    premises = {record.images: record.row["premise"] for record in shards.records("test")}
    assert premises == {
        keys("snli_ve", "test", picture.number): data.premise(*picture.keys)  # type: ignore[attr-defined]
        for picture in numbered_images(data, "test")
    }


def test_other_data_sets_can_be_written_too(tmp_path: Path) -> None:
    data = opened("easy_vqa", {})
    data.examples = lambda split: type(data).examples(data, split)[:20]  # type: ignore[method-assign]
    assert layout_of(data) == "vqav2"
    LAYOUTS["vqav2"](data, tmp_path, silent)
    asked = json.loads((tmp_path / "vqav2/v2_OpenEnded_mscoco_val2014_questions.json").read_text())["questions"]
    assert [question["question"] for question in asked] == [example.text for example in data.examples("val")]


def test_an_answer_that_training_lacks_is_written_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "own/images").mkdir(parents=True)
    rows = [("train", "yes"), ("train", "no"), ("val", "no"), ("val", "maybe"), ("test", "yes")]
    for at, _ in enumerate(rows):
        Image.new("RGB", (8, 8), (at, 0, 0)).save(tmp_path / f"own/images/{at}.png")
    lines = [
        json.dumps({"image": f"{at}.png", "question": f"{at}?", "answer": answer, "split": split})
        for at, (split, answer) in enumerate(rows)
    ]
    (tmp_path / "own/questions.jsonl").write_text("\n".join(lines))
    make("questions", {"folder": str(tmp_path / "own")}, tmp_path / "raw", silent)
    written = json.loads((tmp_path / "raw/vqav2/v2_mscoco_val2014_annotations.json").read_text())["annotations"]
    assert [entry["multiple_choice_answer"] for entry in written] == ["no", "maybe"]
    convert("jsonl", tmp_path / "own", tmp_path / "shards", {"kind": "questions"})
    make("shards", {"folder": str(tmp_path / "shards")}, tmp_path / "again", silent)


def test_shards_are_written_as_what_they_hold(tmp_path: Path) -> None:
    make("shapes_captions", SMALL, tmp_path / "raw", silent)
    convert("flickr30k", tmp_path / "raw", tmp_path / "shards", {})
    assert make("shards", {"folder": str(tmp_path / "shards")}, tmp_path / "again", silent).layout == "flickr30k"


def test_a_folder_that_is_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(UserError, match="exists already"):
        make("shapes", SMALL, tmp_path / "raw", silent)


def test_nothing_is_left_of_what_could_not_be_written(tmp_path: Path) -> None:
    def interrupted(what: str, done: int, whole: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("shapes", SMALL, tmp_path / "raw", interrupted)
    assert not list(tmp_path.iterdir())


def test_a_published_data_set_cannot_be_made_up(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs a folder of shards"):
        make("vqav2", {}, tmp_path / "raw", silent)
    assert not list(tmp_path.iterdir())
