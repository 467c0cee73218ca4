"""Blind models on the layered world: words alone, or the picture alone, tell the commonest answer and no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from blind import POINTS, above_commonest, fitted, looks, of, refuse_words_that_tell, vectoriser_of, words

from mtlab.config.check import check_config
from mtlab.data.base import Split
from mtlab.data.worlds.layered import Layered
from mtlab.data.worlds.tiles.scene import ANSWERS

SPLITS: tuple[Split, Split] = ("train", "test")


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(shared_cache: Path, own_folders: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTLAB_CACHE", str(shared_cache))


def world(train: int, test: int) -> Layered:
    return Layered(check_config(Layered.Config, {"train": train, "test": test, "image_size": 64}))


@pytest.mark.slow
def test_words_alone_tell_no_more_than_the_commonest_answer() -> None:
    data = world(6_000, 12_000)
    for family in ANSWERS:
        train, test = (of(family, data.examples(split)) for split in SPLITS)
        vectoriser = vectoriser_of(train)
        for predicted in fitted(words(train, vectoriser), [e.target for e in train], words(test, vectoriser)):
            assert above_commonest(predicted, test) <= POINTS, family


@pytest.mark.slow
def test_pictures_alone_tell_no_more_than_the_commonest_answer() -> None:
    data = world(3_000, 3_000)
    for family in ANSWERS:
        seen, tested = (of(family, data.examples(split)) for split in SPLITS)
        for predicted in fitted(looks(data, seen), [e.target for e in seen], looks(data, tested)):
            assert above_commonest(predicted, tested) <= POINTS, family


def test_each_word_goes_with_every_answer_alike() -> None:
    examples = world(100, 12_000).examples("test")
    for family in ANSWERS:
        refuse_words_that_tell(of(family, examples))
