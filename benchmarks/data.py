"""How fast are conversion and loading beside plain PIL and a plain DataLoader, and does memory stay the same?

    python benchmarks/data.py [--images 5000] [--rounds 3] [--quick]

All are measured in turn, several times, in one run on one core each, so that a busy machine is busy for all alike. CPU
seconds are what to compare: wall seconds depend on who else is at work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from alternating import alternate, median, over_rounds
from data_memory import spilled
from measurements import Row, Tables, measurements, parser
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.streaming.sample_loader import SampleLoader, StreamedTexts
from mtlab.data.shards.writing.convert import convert
from mtlab.data.transforms.base import CLIP, build_transform

BATCH, SIZE = 32, 224


def write_raw(folder: Path, images: int, distinct: int = 200) -> None:
    """Write images of 640 × 480 pixels, five captions each; after the first `distinct` they come again."""
    (folder / "images").mkdir(parents=True)
    dice = np.random.default_rng(0)
    with (folder / "train.jsonl").open("w") as lines:
        for number in range(images):
            path = folder / f"images/{number}.jpg"
            if number < distinct:
                coarse = Image.fromarray(dice.integers(0, 256, (30, 40, 3), dtype=np.uint8))
                coarse.resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=90)
            else:
                os.link(folder / f"images/{number % distinct}.jpg", path)
            captions = [f"image {number}, caption {at} of five" for at in range(5)]
            lines.write(json.dumps({"image": path.name, "caption": captions}) + "\n")
    for split in ("val", "test"):
        (folder / f"{split}.jsonl").write_text(json.dumps({"image": "0.jpg", "caption": split}) + "\n")


class Plain(Dataset[Any]):
    """Files, PIL, and torch: what most code does."""

    def __init__(self, folder: Path) -> None:
        self.rows = [
            (folder / "images" / row["image"], caption)
            for row in map(json.loads, (folder / "train.jsonl").read_text().splitlines())
            for caption in row["caption"]
        ]
        mean, deviation = CLIP
        self.mean, self.deviation = torch.tensor(mean).view(3, 1, 1), torch.tensor(deviation).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, str]:
        path, caption = self.rows[at]
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1).float() / 255
        return (pixels - self.mean) / self.deviation, caption


def memory(what: str, *arguments: Path | int) -> float:
    """Do some work in a process of its own; return the most memory that it had, in MiB."""
    command = [sys.executable, Path(__file__).with_name("data_memory.py"), what, *map(str, arguments)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, rounds=3, quick="a fifth of the images")
    arguments.add_argument("--images", type=int, default=5000, help="in the larger data set; the smaller has a tenth")
    arguments.add_argument("--steps", type=int, default=15, help=f"batches of {BATCH} in a round")
    asked = arguments.parse_args()
    if asked.quick:
        asked.images //= 5
    torch.set_num_threads(1)
    few, many = asked.images // 10, asked.images
    with measurements(asked) as tables, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, images in (("small", few), ("large", many)):
            write_raw(root / name, images)
            convert("jsonl", root / name, root / f"{name}-shards", {"kind": "captions"}, samples=250)
        speed(tables, root, asked.rounds, asked.steps)
        used: list[Row] = []
        for what, out in (("conversion", "shards-again"), ("streaming", "shards")):
            less, more = (memory(what, root / name, root / f"{name}-{out}") for name in ("small", "large"))
            used.append(peaks(what, few, less, more))
        used.append(peaks("evaluating retrieval", few, memory("ranking", few), memory("ranking", many)))
        tables.add("memory", used)
        kept = {"images": few, "MiB": spilled(few), "MiB with ten times as many": spilled(many)}
        tables.add("kept on disk by retrieval", [kept])


def peaks(what: str, images: int, less: float, more: float) -> Row:
    """Make the row of the peak memory of a process."""
    return {"process": what, "images": images, "peak MiB": less, "with ten times as many": more}


def speed(tables: Tables, root: Path, rounds: int, steps: int) -> None:
    """Compare throughputs."""
    raw, shards = root / "small", ShardFolder(root / "small-shards")
    files = sorted((raw / "images").iterdir())
    plain = DataLoader(Plain(raw), BATCH, shuffle=True)
    streams = {
        name: SampleLoader(StreamedTexts([(shards, "train")]), build_transform({"name": name, "size": SIZE}))
        for name in ("albef", "albef_randaug")
    }

    def decode_files() -> int:
        for path in files:
            with Image.open(path) as image:
                image.convert("RGB")
        return len(files)

    def convert_files() -> int:
        with tempfile.TemporaryDirectory(dir=root) as out:
            convert("jsonl", raw, Path(out), {"kind": "captions"}, samples=250)
        return len(files)

    def streamed(name: str, start: int = 0) -> int:
        return sum(map(len, islice(streams[name].steps(0, BATCH, start), steps)))

    work: dict[str, Callable[[], int]] = {
        "decode the files by PIL, write nothing": decode_files,
        "convert them into shards": convert_files,
        "load by PIL and DataLoader": lambda: sum(len(captions) for _, captions in islice(plain, steps)),
        "stream shards": lambda: streamed("albef"),
        "stream shards from the middle of an epoch": lambda: streamed("albef", len(streams["albef"]) // BATCH // 2),
        "stream shards, augmented": lambda: streamed("albef_randaug"),
    }
    done = {name: each() for name, each in work.items()}  # warms up, too
    taken = alternate(work, rounds, warm=0)
    references = {"convert them into shards": "decode the files by PIL, write nothing"}
    rows: list[Row] = []
    for name, seconds in taken.items():
        reference = references.get(name, "load by PIL and DataLoader" if "stream" in name else None)
        pairs = zip(taken[reference], seconds, strict=True) if reference else ()
        faster = [(theirs.cpu / done[reference]) / (ours.cpu / done[name]) for theirs, ours in pairs]
        speeds = {
            f"images/s of {clock.replace('cpu', 'CPU')} time": done[name] / median(seconds, clock)
            for clock in ("cpu", "wall")
        }
        rows.append({"work": name, "times as fast": over_rounds(faster) if faster else None, "as": reference, **speeds})
    tables.add("speed", rows)


if __name__ == "__main__":
    main()
