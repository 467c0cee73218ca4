"""Folders of questions and images, as users would make them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

Row = Mapping[str, Any]
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def row(number: int, **changes: Any) -> dict[str, Any]:
    """Make a question about image `NUMBER.png`, which is of one colour."""
    colour = list(COLOURS)[number % len(COLOURS)]
    return {"image": f"{number}.png", "question": "what colour is it?", "answer": colour} | changes


def write_images(folder: Path, numbers: Sequence[int]) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        colour, about = list(COLOURS.values())[number % len(COLOURS)], PngInfo()
        about.add_text("number", str(number))  # no file is a copy of another
        Image.new("RGB", (8, 8), colour).save(folder / f"images/{number}.png", pnginfo=about)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows), encoding="utf-8")


def write_folder(folder: Path, train: int = 6, val: int = 3, test: int = 3) -> Path:
    """Write a file for each split, with one question about each image."""
    start = 0
    for split, count in (("train", train), ("val", val), ("test", test)):
        numbers = range(start, start + count)
        write_images(folder, numbers)
        write_rows(folder / f"{split}.jsonl", [row(number) for number in numbers])
        start += count
    return folder
