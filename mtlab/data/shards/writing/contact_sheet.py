"""A contact sheet: some samples of a folder of shards as one image, to be inspected before training."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from heapq import nsmallest
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.samples import TextRecord
from mtlab.errors import UserError
from mtlab.seeding import derive

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

SIDE = 224  #: of the box that an image is fitted into, pixels
GAP = 12
LETTER = 13  #: height of the letters
LINE = 17
LINES = 5  #: of text below an image
Colour = tuple[int, int, int]
GROUND, BOX, INK, FAINT, RIGHT = (255, 255, 255), (238, 238, 238), (20, 20, 20), (110, 110, 110), (0, 90, 170)


def contact_sheet(shards: ShardFolder, selection: str, count: int, seed: int = 0) -> PilImage:
    """Draw some texts with their images.

    Args:
        shards: the folder.
        selection: the texts to choose from.
        count: how many; fewer if there are not as many.
        seed: of the choice.

    Raises:
        UserError: there is no such selection, or a file is damaged.

    """
    from PIL import Image, ImageDraw, ImageFont

    chosen = choose_records(shards, selection, count, seed)
    images = max(len(record.images) for record in chosen)
    columns = min(len(chosen), max(1, 6 // images))
    width, height = images * SIDE + (images - 1) * GAP // 2, SIDE + LINE * LINES
    rows = -(-len(chosen) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP + LINE), GROUND)
    font = ImageFont.load_default(LETTER)
    draw = ImageDraw.Draw(sheet)
    title = f"{shards.index.name} {selection}: {len(chosen)} of {shards.size(selection):,} texts"
    draw.text((GAP, GAP // 2), title, FAINT, font)
    for at, record in enumerate(chosen):
        left = GAP + at % columns * (width + GAP)
        top = GAP + LINE + at // columns * (height + GAP)
        for number, key in enumerate(record.images):
            _paste(sheet, shards, key, left + number * (SIDE + GAP // 2), top)
        lines = _caption_lines(record, shards.answers, max(12, int(width / font.getlength("n"))))
        for number, (line, colour) in enumerate(lines):
            draw.text((left, top + SIDE + 3 + number * LINE), line, colour, font)
    return sheet


def choose_records(shards: ShardFolder, selection: str, count: int, seed: int) -> list[TextRecord]:
    """Choose images at random by the seed, and one text of each.

    Raises:
        UserError: the selection has no text.

    """
    of_images = groupby(shards.records(selection), key=lambda record: record.images)
    ranked = ((derive(seed, "sheet", *images), list(records)) for images, records in of_images)
    found = nsmallest(max(count, 1), ranked, key=itemgetter(0))
    if not found:
        raise UserError(f"{selection} has no text", file=shards.storage.name)
    return [records[place % len(records)] for place, records in found]


def _paste(sheet: PilImage, shards: ShardFolder, key: str, left: int, top: int) -> None:
    """Paste an image into the middle of its box, as large as it fits."""
    from PIL import Image, ImageOps

    image = Image.fromarray(shards.image(key))
    small = max(image.size) < SIDE
    image = ImageOps.contain(image, (SIDE, SIDE), Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC)
    sheet.paste(BOX, (left, top, left + SIDE, top + SIDE))
    sheet.paste(image, (left + (SIDE - image.width) // 2, top + (SIDE - image.height) // 2))


def _caption_lines(record: TextRecord, answers: Sequence[str], letters: int) -> list[tuple[str, Colour]]:
    """Wrap a text and its label into the lines that fit below an image."""
    truth = textwrap.wrap(describe_label(record, answers), letters, max_lines=2, placeholder=" …")
    text = textwrap.wrap(record.text, letters, max_lines=LINES - len(truth), placeholder=" …")
    return [(line, INK) for line in text] + [(line, RIGHT) for line in truth]


def describe_label(record: TextRecord, answers: Sequence[str]) -> str:
    """Return a text's label, or the answers that score."""
    if record.label is not None:
        return answers[record.label]
    scored = sorted(record.scores, key=lambda pair: -pair[1])
    return ", ".join(answers[label] if score == 1 else f"{answers[label]} {score:g}" for label, score in scored)
