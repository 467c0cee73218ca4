"""docs/worlds.md as a reader would follow it: its commands run, its numbers counted."""

import re
import shlex
from pathlib import Path

import pytest
from calling import mtlab
from PIL import Image

from mtlab.config.check import check_config
from mtlab.data.base import SPLITS
from mtlab.data.worlds.clipart import ClipArt, list_clips
from mtlab.data.worlds.clips import openclipart, tuxpaint
from mtlab.data.worlds.pictograms import Pictograms
from mtlab.data.worlds.shapes_captions import ShapesCaptions, sets_of_things

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/worlds.md").read_text()
BLOCKS = [block.splitlines() for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)]
(RAW,) = [block for block in BLOCKS if block[0].startswith("mtlab data make")]


def follow(commands: list[str], folder: Path) -> None:
    """Run commands one after the other."""
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "mtlab"
        done = mtlab(*words, cwd=folder, seconds=600)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def refuse_another_picture(drawn: Path) -> None:
    """Assert that a contact sheet is the one that the page shows, but for decoders' last bits."""
    with Image.open(drawn) as own, Image.open(ROOT / "docs" / drawn.name) as shown:
        assert own.size == shown.size
        small = [image.convert("RGB").resize((64, 16)).tobytes() for image in (own, shown)]
    assert max(abs(a - b) for a, b in zip(*small, strict=True)) < 12


@pytest.mark.slow
def test_all_worlds_are_made_converted_and_shown_as_the_page_says(tmp_path: Path) -> None:
    """All but clip art, of which there are thousands of drawings: `test_clipart.py` draws some."""
    follow([command for command in RAW if "clipart" not in command], tmp_path)
    for picture in (*re.findall(r"\]\((worlds-\w+\.png)\)", PAGE), "results-world.png"):
        if "clipart" not in picture:
            refuse_another_picture(tmp_path / picture)


def test_the_page_counts_rightly() -> None:
    captions = check_config(ShapesCaptions.Config, {"train": 4 * 2415})
    assert f"{len(sets_of_things(captions.objects)):,} sets" in PAGE
    (told,) = ShapesCaptions.remarks(captions)
    assert "of 2,414 sets" in told
    assert "2,414 for `train` and 1,207 each" in PAGE
    pictograms = Pictograms(check_config(Pictograms.Config, {}))
    examples = [example for split in SPLITS for example in pictograms.examples(split)]
    assert f"{len({example.image for example in examples}):,} pictograms" in PAGE
    assert f"{len(examples):,} names" in PAGE


@pytest.mark.slow
@pytest.mark.skipif(
    not openclipart.FOLDER.is_dir() or not tuxpaint.FOLDER.is_dir(), reason="needs two packages of Debian"
)
def test_the_page_counts_clip_art_rightly() -> None:
    clips = list_clips(frozenset(("openmoji", "tuxpaint", "openclipart")))
    for source in ("openmoji", "tuxpaint", "openclipart"):
        of = [it for it in clips if it.key.startswith(source)]
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{source}`"))
        assert f"| {len(of):,} | {sum(len(it.names) for it in of):,} |" in row
    sizes = ClipArt.sizes(check_config(ClipArt.Config, {"sources": ["openmoji", "tuxpaint", "openclipart"]}))
    assert f"{sum(sizes.values()):,} pairs" in PAGE
    assert ", ".join(f"{size:,} of `{split}`" for split, size in sizes.items()) in PAGE
