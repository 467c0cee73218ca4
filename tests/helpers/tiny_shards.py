"""Small shards of little images, with another number of captions each."""

import json
import random
from pathlib import Path
from typing import Any

from PIL import Image

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.writing.convert import convert


def write_raw(folder: Path, images: int, *, seed: int = 0, name: str = "picture", texts: int = 7) -> Path:
    """Write JSON lines and images: captions, 1 to `texts` of each image, all different."""
    dice = random.Random(seed)
    (folder / "images").mkdir(parents=True)
    with (folder / "train.jsonl").open("w") as lines:
        for number in range(images):
            size = (dice.randint(9, 20), dice.randint(9, 20))
            image = Image.new("RGB", size, tuple(dice.randrange(256) for _ in range(3)))
            image.putpixel((0, 0), (number % 256, number // 256, seed))
            image.save(folder / f"images/{name}{number}.png")
            captions = [f"{name} {number} text {at}" for at in range(dice.randint(1, texts))]
            lines.write(json.dumps({"image": f"{name}{number}.png", "caption": captions}) + "\n")
    for split in ("val", "test"):
        Image.new("RGB", (8, 8)).save(folder / f"images/{split}.png")
        line = {"image": f"{split}.png", "caption": split}
        (folder / f"{split}.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def make_shards(folder: Path, images: int, *, samples: int = 7, **raw: Any) -> Path:
    """Convert such a folder; return that of the shards."""
    write_raw(folder / "raw", images, **raw)
    convert("jsonl", folder / "raw", folder / "shards", {"kind": "captions"}, samples=samples)
    return folder / "shards"


def opened(folder: Path, images: int, **raw: Any) -> ShardFolder:
    return ShardFolder(make_shards(folder, images, **raw))
