"""Clip art: what each source gives, one concept in one split, and files that are broken, hostile or not there."""

from __future__ import annotations

import doctest
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtlab.config.check import check_config
from mtlab.data.base import SPLITS
from mtlab.data.worlds import clipart, svg
from mtlab.data.worlds.clipart import ClipArt
from mtlab.data.worlds.clips import names, openclipart, tuxpaint
from mtlab.data.worlds.clips.names import concept
from mtlab.data.worlds.pictogram_names import split_concept
from mtlab.errors import UserError

ALL = ["openmoji", "tuxpaint", "openclipart"]
PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}">
<metadata><dc:title>{title}</dc:title>{keywords}</metadata>
{content}</svg>"""
BOX = '<rect x="10" y="10" width="10" height="20" fill="red"/>'


def opened(*sources: str, **options: Any) -> ClipArt:
    return ClipArt(check_config(ClipArt.Config, {"sources": list(sources), **options}))


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists are kept for the length of a process: each test has its own."""
    for kept in (clipart.list_clips, clipart._digest, openclipart._list, tuxpaint._list):
        kept.cache_clear()


def write(folder: Path, path: str, title: str, *keywords: str, content: str = BOX, size: str = "40") -> Path:
    """Write a file as Open Clip Art has them."""
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    listed = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
    text = PICTURE.format(title=title, keywords=listed, content=content, size=size)
    file.write_text(text.replace("<svg ", '<svg xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:rdf="r" ', 1))
    return file


@pytest.fixture
def art(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small Open Clip Art of our own."""
    folder = tmp_path / "art"
    write(folder, "animals/cat_anna_01.svg", "Sleeping cat", "mammal", "hash", "0x3f", "cat")
    write(folder, "animals/dog_03.svg", "Dog 03 on leash")
    for number in range(5):
        write(folder, f"food/pear{number}_simple.svg", "Great Collection", "fruit")
    write(folder, "shapes/stars/star_1.svg", "gramastar", "stars")
    monkeypatch.setattr(openclipart, "FOLDER", folder)
    return folder


def found(data: ClipArt) -> dict[str, list[str]]:
    """Names by picture."""
    told: dict[str, list[str]] = {}
    for split in SPLITS:
        for example in data.examples(split):
            told.setdefault(example.image.removeprefix("openclipart/"), []).append(example.text)
    return told


def test_titles_keywords_and_file_names_are_names(art: Path) -> None:
    assert found(opened("openclipart")) == {
        "animals/cat_anna_01": ["sleeping cat", "sleeping cat, mammal"],
        "animals/dog_03": ["dog on leash"],
        "food/pear0_simple": ["pear simple", "pear simple, fruit"],  # the others have the same name
    }


def test_pictures_fill_a_white_square_whatever_their_page(art: Path) -> None:
    write(art, "tools/saw.svg", "saw", size="210mm")
    picture = opened("openclipart", image_size=64).image("openclipart/tools/saw")
    assert picture.shape == (64, 64, 3)
    assert picture[32, 5].tolist() == [255, 255, 255]
    reds = (picture[..., 0] > 200) & (picture[..., 1:].max(-1) < 150)
    assert np.ptp(np.nonzero(reds)[0]) == 63  # twice as high as wide: up to the edges
    assert 29 <= np.ptp(np.nonzero(reds)[1]) <= 33


def test_what_is_broken_or_refers_elsewhere_is_left_out(art: Path) -> None:
    before = found(opened("openclipart"))
    write(art, "bad/a.svg", "torn").write_text("<svg><g>")
    write(art, "bad/b.svg", "spy", content='<image xlink:href="/etc/hostname" width="9" height="9"/>')
    write(art, "bad/c.svg", "styled", content='<style>@import url("other.css");</style>')
    write(art, "bad/d.svg", "heavy", content="<!--" + "x" * openclipart.LARGEST + "-->")
    bomb = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    laughs = f'<!DOCTYPE svg [<!ENTITY a0 "ha">{bomb}]><svg xmlns="http://www.w3.org/2000/svg"><text>&a11;</text></svg>'
    (art / "bad/e.svg").write_text(laughs)
    (art / "bad/f.svg").symlink_to(art / "animals/dog_03.svg")
    openclipart._list.cache_clear()
    clipart.list_clips.cache_clear()
    assert found(opened("openclipart")) == before


def test_a_file_that_crashes_or_never_ends_is_told(art: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none.svg").write_text("<html/>")
    with pytest.raises(UserError, match=r"none\.svg: is no SVG file that can be drawn"):
        svg.draw_once("trial", {"none": tmp_path / "none.svg"}, 32)
    with pytest.raises(UserError, match=r"gone\.svg: is no SVG"):
        svg.draw_once("trial", {"gone": tmp_path / "gone.svg"}, 32)
    monkeypatch.setattr(svg, "SECONDS", 0.2)
    monkeypatch.setattr(svg, "CHILD", svg.CHILD.replace("drawn = bytes(", "while True: pass\n        drawn = bytes("))
    with pytest.raises(UserError, match=r"none\.svg: takes more than 0\.2 seconds to draw"):
        svg.draw_once("trial", {"none": tmp_path / "none.svg"}, 32)
    monkeypatch.setattr(svg, "CHILD", "import os; input(); os.abort()")
    with pytest.raises(UserError, match="cannot be drawn: resvg crashed"):
        svg.draw_once("trial", {"none": tmp_path / "none.svg"}, 32)


@pytest.mark.parametrize(
    ("source", "module", "package"),
    [("openclipart", openclipart, "openclipart-svg"), ("tuxpaint", tuxpaint, "tuxpaint-stamps-default")],
)
def test_a_missing_source_is_told_with_its_package(
    source: str, module: Any, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLDER", tmp_path / "none")
    with pytest.raises(UserError, match=f"sources: .*none is missing: apt-get install {package}"):
        ClipArt.sizes(opened(source).config)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no pictures where it is installed"):
        ClipArt.digest(opened(source).config)


def test_sources_are_part_of_the_identity(art: Path) -> None:
    alone, more = (ClipArt.digest(opened(*sources).config) for sources in (["openmoji"], ["openmoji", "openclipart"]))
    assert alone != more
    write(art, "animals/dog_03.svg", "Dog 04 on leash", content=BOX.replace("red", "blue"))
    for kept in (clipart.list_clips, clipart._digest, openclipart._list):
        kept.cache_clear()
    assert ClipArt.digest(opened("openmoji", "openclipart").config) != more
    assert ClipArt.digest(opened("openmoji").config) == alone


def test_no_two_pictures_have_a_name_in_common_and_no_concept_is_in_two_splits(art: Path) -> None:
    write(art, "animals/panda.svg", "Panda")  # as OpenMoji has one
    data = opened("openmoji", "openclipart")
    examples = [example for split in SPLITS for example in data.examples(split)]
    assert Counter(example.text for example in examples).most_common(1)[0][1] == 1
    assert "openclipart/animals/panda" not in {example.image for example in examples}
    assert data.sizes(data.config) == {split: len(data.examples(split)) for split in SPLITS}
    splits: dict[str, set[str]] = {}
    for split in SPLITS:
        for example in data.examples(split):
            splits.setdefault(example.image, set()).add(split)
    cats = {it.key for it in clipart.list_clips(frozenset(("openmoji", "openclipart"))) if it.concept == "cat"}
    assert "openclipart/animals/cat_anna_01" in cats
    assert len(cats) > 1
    assert set.union(*(splits[key] for key in cats)) == {split_concept("cat", "clipart/")}


def test_pictures_that_are_the_same_are_one_with_all_their_names() -> None:
    named = {name: it for it in clipart.list_clips(frozenset(("openmoji",))) for name in it.names}
    assert named["man mechanic"] is named["mechanic"]
    files = [it.file.read_bytes() for it in dict.fromkeys(named.values())]
    assert len(set(files)) == len(files)


def test_a_copy_stays_out_wherever_it_lies(art: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openclipart, "COPIES", frozenset(("animals/cat_anna_01",)))
    write(art, "pets/cat_anna_01.svg", "Sleeping cat")  # the same file in another folder
    assert not any("cat" in key for key in found(opened("openclipart")))


def test_the_default_needs_no_system_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(openclipart, "FOLDER", tmp_path / "none")
    monkeypatch.setattr(tuxpaint, "FOLDER", tmp_path / "none")
    data = ClipArt(check_config(ClipArt.Config, {}))
    assert sum(data.sizes(data.config).values()) > 2200


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"sources": []}, "at least one"),
        ({"sources": ["openmoji", "openmoji"]}, "once"),
        ({"sources": ["emoji"]}, "openmoji"),
        ({"image_size": 16}, "at least 32"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        check_config(ClipArt.Config, options)


def test_names_keep_their_examples() -> None:
    ran = doctest.testmod(names)
    assert ran.attempted
    assert not ran.failed
    assert concept("apple simple") == concept("Apples") == "apple"


debian = pytest.mark.skipif(
    not openclipart.FOLDER.is_dir() or not tuxpaint.FOLDER.is_dir(), reason="needs two packages of Debian"
)


@debian
@pytest.mark.slow
def test_there_are_thousands_of_pairs_with_all_sources() -> None:
    data = opened(*ALL)
    sizes = data.sizes(data.config)
    assert sum(sizes.values()) >= 8000
    assert min(sizes.values()) >= 500
    examples = [example for split in SPLITS for example in data.examples(split)]
    assert Counter(example.text for example in examples).most_common(1)[0][1] == 1
    assert {example.family for example in data.examples("test")} == set(ALL)
    assert not any("gramastar" in example.text or ", hash" in example.text for example in examples)
    listed = {
        it.key.rpartition("/")[2] for it in clipart.list_clips(frozenset(ALL)) if it.key.startswith("openclipart")
    }
    assert listed.isdisjoint(path.rpartition("/")[2] for path in openclipart.COPIES)


@debian
@pytest.mark.slow
def test_pictures_can_be_drawn_and_show_something(own_folders: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every thirtieth of all sources: to draw all takes minutes."""
    data = opened(*ALL, image_size=32)
    keys = sorted({example.image for split in SPLITS for example in data.examples(split)})[::30]
    draw_once = svg.draw_once

    def some(name: str, paths: Mapping[str, Path], *arguments: Any, **options: Any) -> Mapping[str, bytes]:
        return draw_once(name, {key: paths[key] for key in keys if key in paths}, *arguments, **options)

    monkeypatch.setattr(svg, "draw_once", some)
    assert [key for key in keys if data.image(key).min() == 255] == []
