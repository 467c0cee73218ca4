"""easy-VQA as the package holds it, with a validation part that shares no picture with training."""

import importlib.util
from collections import Counter
from typing import Any

import numpy as np
import pytest

from mtlab.data.base import DATASETS, SPLITS, Dataset
from mtlab.errors import UserError


@pytest.fixture(scope="module")
def data() -> Dataset:
    entry = DATASETS.get("easy_vqa")
    return entry.cls(entry.config())


def test_sizes_are_those_of_the_package(data: Dataset) -> None:
    sizes = data.sizes(data.config)
    assert sizes["train"] + sizes["val"] == 38_575
    assert sizes["test"] == 9_673
    assert {split: len(data.examples(split)) for split in SPLITS} == sizes
    assert len(data.answers) == 13


def test_no_picture_is_in_two_splits(data: Dataset) -> None:
    pictures = {split: {example.image for example in data.examples(split)} for split in SPLITS}
    assert {split: len(found) for split, found in pictures.items()} == {"train": 3500, "val": 500, "test": 1000}
    assert len(set.union(*pictures.values())) == 5000
    assert min(int(key.removeprefix("train/")) for key in pictures["val"]) == 3500


def test_examples_are_what_the_package_says(data: Dataset) -> None:
    example = data.examples("test")[0]
    assert (example.id, example.text, data.answers[example.target]) == ("test/0", "what is the red shape?", "triangle")
    examples = [example for split in SPLITS for example in data.examples(split)]
    assert len({example.id for example in examples}) == len(examples)
    assert len({example.text for example in examples}) == 107
    families: dict[str, set[str]] = {}
    for example in examples:
        families.setdefault(example.family, set()).add(data.answers[example.target])
    yes_no = {"yes", "no"}
    assert families["presence"] == families["absence"] == yes_no
    assert families["shape"] == {"circle", "rectangle", "triangle"}
    assert families["colour"] == set(data.answers) - yes_no - families["shape"]


def test_text_alone_answers_two_thirds(data: Dataset) -> None:
    seen: dict[str, Counter[int]] = {}
    for example in data.examples("train"):
        seen.setdefault(example.text, Counter())[example.target] += 1
    right = [seen[example.text].most_common(1)[0][0] == example.target for example in data.examples("test")]
    assert np.mean(right) == pytest.approx(0.67, abs=0.01)


def test_pictures(data: Dataset) -> None:
    keys = ("train/0", "train/3999", "test/999")
    pictures = [data.image(key) for key in keys]
    assert all((picture.shape, picture.dtype) == ((64, 64, 3), np.uint8) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 3
    for wrong in ("val/0", "test/1.png", "test/../../x", "train/", "7"):
        with pytest.raises(KeyError):
            data.image(wrong)


def test_the_digest_is_of_content(data: Dataset) -> None:
    digest = data.digest(data.config)
    assert digest
    assert data.digest(data.config) == digest


def test_a_missing_package_is_told_with_its_extra(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name == "easy_vqa" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(UserError) as told:
        data.sizes(data.config)
    assert str(told.value) == "name: needs the package easy-vqa: pip install 'mtlab[offline]'"
