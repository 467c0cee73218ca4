"""The layered world: what it promises of its tiles, questions and pictures, judged from the outside."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtlab.config.check import check_config
from mtlab.data.base import DATASETS, SPLITS
from mtlab.data.worlds.layered import Layered
from mtlab.data.worlds.pictograms import list_pictograms, pictogram_folder
from mtlab.data.worlds.scenes.dice import Dice
from mtlab.data.worlds.tiles import objects
from mtlab.data.worlds.tiles.draw import DIFFICULTIES, draw_tiles
from mtlab.data.worlds.tiles.letters import STROKES
from mtlab.data.worlds.tiles.scene import ANSWERS, FIGURES, Tile
from mtlab.data.worlds.tiles.wordings import PLACES
from mtlab.errors import UserError

LEVELS = tuple(DIFFICULTIES)
SIDES = {"above": (0, -1), "right": (1, 0), "below": (0, 1), "left": (-1, 0)}
CLEAR = replace(DIFFICULTIES["easy"], step=0.1, letter=(0.2, 0.2), pen=(0.01, 0.01))
BARE = replace(CLEAR, step=0.0, contrast=0.0, letter=(0.001, 0.001), pen=(0.0, 0.0), ring=(0.001, 0.001), ink=0.0)


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(shared_cache: Path, own_folders: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut-outs are drawn once for all tests."""
    monkeypatch.setenv("MTLAB_CACHE", str(shared_cache))


def world(**options: Any) -> Layered:
    return Layered(check_config(Layered.Config, options))


def place_of(text: str) -> int:
    (found,) = [place for place, names in enumerate(PLACES) if any(name in text for name in names)]
    return found


def test_every_answer_is_that_of_the_tile_that_the_words_name() -> None:
    data = world(train=2000)
    for example in data.examples("train"):
        tile = data.scene("train", int(example.image.split("/")[1])).tiles[place_of(example.text)]
        assert data.answers[example.target] == tile.answers[example.family], example
        assert data.answers[example.target] in ANSWERS[example.family]


def test_the_tiles_of_a_picture_show_every_answer_once() -> None:
    """So who sees the picture alone, and not which tile is meant, gets a quarter right, whatever the family."""
    data = world()
    for index in range(300):
        tiles = data.scene("train", index).tiles
        figure = FIGURES[index % 2]
        assert set(tiles[0].answers) == {figure, "stripes", "shade", "ring"}
        for family in tiles[0].answers:
            assert Counter(tile.answers[family] for tile in tiles) == Counter(ANSWERS[family])
        assert {bool(tile.pictogram) for tile in tiles} == {figure == "object"}


def test_families_have_as_many_questions_about_tiles_of_all_places() -> None:
    data = world(train=5000)
    examples = data.examples("train")
    assert Counter(example.family for example in examples) == dict.fromkeys(ANSWERS, 1000)
    for family in ANSWERS:
        places = Counter(place_of(example.text) for example in examples if example.family == family)
        assert max(places.values()) < 300, family
    asked = Counter((example.image, example.family, place_of(example.text)) for example in examples)
    assert max(asked.values()) == 1


@pytest.mark.parametrize("families", [["ring"], ["letter"], ["shade", "object"], ["letter", "object"]])
def test_chosen_families_alone_are_asked(families: list[str]) -> None:
    examples = world(families=families, train=400).examples("train")
    assert Counter(example.family for example in examples) == dict.fromkeys(families, 400 // len(families))
    assert len({example.id for example in examples}) == 400


def test_pictograms_of_a_split_show_what_no_other_split_shows() -> None:
    concepts = {it.code: it.concept for it in list_pictograms(pictogram_folder())}
    seen = {
        split: {concepts[code] for kind in objects.KINDS for code in objects.codes()[kind, split]} for split in SPLITS
    }
    assert seen["train"].isdisjoint(seen["val"])
    assert seen["train"].isdisjoint(seen["test"])
    assert seen["val"].isdisjoint(seen["test"])
    listed = [code for found in objects.codes().values() for code in found]
    assert len(listed) == len(set(listed)) == 286
    assert min(len(objects.codes()[kind, "test"]) for kind in objects.KINDS) >= 10
    data = world()
    for split in SPLITS:
        for index in range(0, 60, 2):
            for tile in data.scene(split, index).tiles:
                assert tile.pictogram in objects.codes()[tile.answers["object"], split]


def test_tiles_that_are_alike_show_the_same_answers_and_each_family_is_asked_once() -> None:
    data = world(train=6000, tiles="alike")
    for index in range(20):
        scene = data.scene("train", index)
        for family in ANSWERS:
            shown = [tile.answers[family] for tile in scene.tiles if family in tile.answers]
            assert len(shown) == (2 if family in FIGURES else 4)
            assert len(set(shown)) == 1
        assert [asked.family for asked in scene.questions] == list(ANSWERS)
        assert all(asked.answer == scene.tiles[asked.tile].answers[asked.family] for asked in scene.questions)
    for family, answers in ANSWERS.items():
        counts = Counter(e.target for e in data.examples("train") if e.family == family)
        assert len(counts) == len(answers)
        assert max(counts.values()) / sum(counts.values()) < 0.29
    letters = world(tiles="alike", families=["letter", "ring"]).scene("train", 0)
    assert all("letter" in tile.answers for tile in letters.tiles)
    picture = data.image("train/0")
    half = len(picture) // 2
    assert not np.array_equal(picture[:half, :half], picture[half : 2 * half, half : 2 * half])


def test_splits_show_different_pictures_and_a_larger_one_begins_with_the_smaller() -> None:
    small, large = world(train=400, test=400), world(train=800)
    assert list(small.examples("train")) == list(large.examples("train"))[:400]
    assert np.array_equal(small.image("train/7"), large.image("train/7"))
    firsts = [small.image(f"{split}/1") for split in SPLITS]
    assert not any(np.array_equal(a, b) for a, b in pairwise(firsts))
    assert world(seed=1).scene("train", 0) != small.scene("train", 0)


def test_pictures_are_the_same_in_another_process() -> None:
    code = "from mtlab.config.check import check_config\n"
    code += "from mtlab.data.worlds.layered import Layered\n"
    code += "world = Layered(check_config(Layered.Config, {'image_size': 63}))\n"
    code += "import hashlib; print(*[hashlib.sha256(world.image(f'val/{i}').tobytes()).hexdigest() for i in (0, 1)])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "3"},
    )
    here = world(image_size=63)
    assert done.stdout.split() == [hashlib.sha256(here.image(f"val/{i}").tobytes()).hexdigest() for i in (0, 1)]


def tiles(**answers: str) -> tuple[Tile, ...]:
    """Four tiles that are alike."""
    usual = {"letter": "E", "stripes": "horizontal", "shade": "dark", "ring": "left"}
    return (Tile(usual | answers, ""),) * 4


def drawn(key: str, **answers: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return draw_tiles(Dice(key), tiles(**answers), {}, 256, CLEAR)[..., 0].astype(float) / 255


def test_shades_are_as_far_apart_as_told() -> None:
    for index, shade in enumerate(ANSWERS["shade"]):
        ground = np.median(drawn("shades", shade=shade))
        assert abs(ground - (0.5 + 0.1 * (index - 1.5))) < 0.02, shade


@pytest.mark.parametrize(
    ("direction", "along"), [("horizontal", (0, 1)), ("vertical", (1, 0)), ("rising", (-1, 1)), ("falling", (1, 1))]
)
def test_stripes_run_as_they_are_called(direction: str, along: tuple[int, int]) -> None:
    """A ground hardly changes along its stripes; rows grow downwards."""
    bare = replace(BARE, contrast=0.6)
    patch = draw_tiles(Dice("stripes"), tiles(stripes=direction), {}, 256, bare)[:128, :128, 0].astype(float)
    change = {
        (down, right): abs(patch[8:-8, 8:-8] - np.roll(patch, (8 * down, 8 * right), (0, 1))[8:-8, 8:-8]).mean()
        for down, right in ((0, 1), (1, 0), (-1, 1), (1, 1))
    }
    assert min(change, key=change.__getitem__) == along, change


@pytest.mark.parametrize("side", ANSWERS["ring"])
def test_a_ring_is_open_where_it_is_called(side: str) -> None:
    """The pixels of a ring alone, on plain ground, lie on the other sides of its middle."""
    level = replace(BARE, ring=(0.05, 0.05), ink=0.4)
    picture = draw_tiles(Dice("rings", side), tiles(ring=side), {}, 256, level)[:128, :128, 0].astype(float) / 255
    rows, columns = np.nonzero(abs(picture - 0.5) > 0.2)
    outer = ((rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2)
    lean = np.array([columns.mean() - outer[1], rows.mean() - outer[0]])
    assert SIDES[side][int(abs(lean).argmax())] == -np.sign(lean[abs(lean).argmax()]), lean


def test_letters_have_their_strokes() -> None:
    assert set(STROKES) == set(ANSWERS["letter"])
    dark = {
        letter: (drawn("letters", letter=letter) < 0.3).sum() + (drawn("letters", letter=letter) > 0.7).sum()
        for letter in STROKES
    }
    assert dark["E"] > dark["F"]


def test_questions_are_few_and_varied() -> None:
    texts = {example.text for example in world().examples("train")}
    assert len(texts) == 5 * 4 * 8


@pytest.mark.parametrize("difficulty", LEVELS)
def test_pictures_are_grey_and_of_the_size_that_is_asked_for(difficulty: str) -> None:
    for size in (63, 128):
        picture = world(difficulty=difficulty, image_size=size).image("test/0")
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8
        assert (picture == picture[..., :1]).all()
        assert 100 < picture.mean() < 155


def test_the_world_of_this_version_stays_as_it_is() -> None:
    """Stored results rest on these questions and pictures: when this must change, raise VERSION."""
    data = world(train=600)
    questions = repr([(e.text, e.target) for e in data.examples("train")]).encode()
    assert hashlib.blake2b(questions, digest_size=8).hexdigest() == "b86bceac05d8d470"
    means = [data.image(f"train/{index}").reshape(2, 63, 2, 63, 3).mean((1, 3, 4)).ravel() for index in (0, 1)]
    np.testing.assert_allclose(means, [[136.9, 123.8, 124.8, 131.0], [131.6, 120.0, 132.8, 137.2]], atol=0.3)


def test_the_digest_is_of_pictograms_and_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Layered.digest(world().config)
    monkeypatch.setattr("resvg_py.__version__", "9.9")
    assert Layered.digest(world().config) != before


@pytest.mark.parametrize("key", ["train", "train/x", "dev/1", "train/-1"])
def test_an_unknown_picture_is_a_key_error(key: str) -> None:
    with pytest.raises(KeyError):
        world().image(key)


@pytest.mark.parametrize(
    ("options", "key", "problem"),
    [
        ({"families": []}, "families", "at least one"),
        ({"families": ["ring", "ring"]}, "families", "once"),
        ({"families": ["rings"]}, "families", "not one of"),
        ({"difficulty": "extreme"}, "difficulty", "easy"),
        ({"image_size": 8}, "image_size", "at least 56"),
        ({"clutter": 0.5}, "clutter", "unknown key"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], key: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as raised:
        check_config(Layered.Config, options)
    assert raised.value.key == key


def test_it_is_registered() -> None:
    assert DATASETS.get("layered").cls is Layered
