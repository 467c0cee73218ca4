"""Resizing against the authors' own, on a hundred pictures of many sizes: the second table of docs/transforms.md.

The authors resize PIL images with PIL, ours are tensors. `theirs` writes their steps down; it gives their stored
tensors exactly, so that it can stand for them on any picture. It resizes the width first, as Pillow did when they
wrote; Pillow 13 sometimes resizes the height first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from mtlab.data.transforms.base import build_transform

STORED = load_file(Path(__file__).parents[2] / "golden" / "transforms.safetensors")
SIZES = (20, 64, 224, 288, 384)
NAMES = ("clip", "albef", "pixelbert")  # `imagenet` and `vit` cut as `clip` does
BICUBIC = Image.Resampling.BICUBIC
PICTURES = 100


def picture(number: int) -> Image.Image:
    """Draw a picture of 20 to 640 pixels a side: noise, or soft colours with sharp bars, as photographs have both."""
    rng = np.random.default_rng(number)
    height, width = (int(side) for side in rng.integers(20, 641, 2))
    if number % 2:
        return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    soft = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    pixels = np.array(soft)
    for _ in range(8):
        top, left = int(rng.integers(height)), int(rng.integers(width))
        pixels[top : top + height // 6, left : left + width // 4] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def theirs(name: str, image: Image.Image, size: int) -> Tensor:
    """Resize and cut a PIL image as the published pipelines do; uint8 [3, H, W]."""
    width, height = image.size
    if name == "albef":
        target = (size, size)
    elif name == "pixelbert":
        scale, longest = size / min(width, height), int(1333 / 800 * size)
        scale = min(scale, longest / max(width, height))
        target = tuple(max(int(side * scale + 0.5) // 32 * 32, 32) for side in (width, height))
    else:
        short, long = size, int(size * max(width, height) / min(width, height))
        target = (short, long) if width <= height else (long, short)
    resized = F.pil_to_tensor(image.resize((target[0], height), BICUBIC).resize(target, BICUBIC))
    return F.center_crop(resized, [size, size]) if name == "clip" else resized


def ours(name: str, image: Image.Image, size: int) -> Tensor:
    """Return the result of our transform in grey levels, int [3, H, W]."""
    transform = build_transform({"name": name, "size": size})
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in transform.moments)
    return ((transform(F.pil_to_tensor(image)) * std + mean) * 255).round().int()


def test_these_are_the_steps_of_the_authors() -> None:
    image = Image.fromarray(STORED["image"].numpy())
    for stored in (name for name in STORED if name.startswith("transform/")):
        name, _, size = stored.removeprefix("transform/").partition("@")
        mean, std = (torch.tensor(m).view(3, 1, 1) for m in build_transform({"name": name, "size": int(size)}).moments)
        grey = ((STORED[stored] * std + mean) * 255).round().int()
        cut = name if name in NAMES else "clip"
        assert torch.equal(theirs(cut, image, int(size)).int(), grey), stored


def way(image: Image.Image, target: Tensor, name: str, size: int) -> str:
    """Say whether the sides shrink, grow, or one of each."""
    high, wide = (size, size) if name == "clip" else target.shape[-2:]
    if name == "clip":  # before the cut
        high, wide = (size * side / min(image.size) for side in (image.height, image.width))
    shrinks = {high < image.height, wide < image.width}
    return "one of each" if len(shrinks) == 2 else "smaller" if shrinks == {True} else "larger"


@pytest.mark.slow
@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="uint8 is resized otherwise")
def test_the_agreement_on_many_sizes_is_what_the_docs_say() -> None:
    found: dict[tuple[str, int], list[Tensor]] = {}
    for number in range(PICTURES):
        image, size = picture(number), SIZES[number % len(SIZES)]
        for name in NAMES:
            expected = theirs(name, image, size)
            difference = (ours(name, image, size) - expected.int()).abs().flatten()
            found.setdefault((way(image, expected, name, size), number % 2), []).append(difference)
    page = (Path(__file__).parents[3] / "docs/transforms.md").read_text()
    for sides in ("smaller", "larger", "one of each"):
        soft, noise = (torch.cat(found[sides, kind]) for kind in (0, 1))
        cells = [f"{int(each.max())} | {100 * float((each > 0).float().mean()):.1f} %" for each in (soft, noise)]
        assert f"| {sides} | {' | '.join(cells)} |" in page
