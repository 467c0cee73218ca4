"""Bringing images to size, all bicubic and antialiased.

Shapes: H, W pixels of an image, S side of the result. All images are uint8 [3, H, W].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from mtlab.data.transforms.random_draws import below, between, chance


def resize_square(image: Tensor, size: int) -> Tensor:
    """Resize to S × S; the whole image stays, its aspect ratio does not."""
    return _resized(image, [size, size])


def resize_center_crop(image: Tensor, size: int) -> Tensor:
    """Resize the shorter side to S and cut S × S out of the middle."""
    cropped: Tensor = F.center_crop(_resized(image, [size]), [size, size])
    return cropped


def resize_keep_ratio(image: Tensor, size: int, cell: int = 32) -> Tensor:
    """Resize the shorter side to S, the longer one to no more than 1333/800 · S, both to multiples of a cell."""
    height, width = image.shape[-2:]
    scale = size / min(height, width)
    longest = int(1333 / 800 * size)
    if max(height, width) * scale > longest:
        scale = longest / max(height, width)
    target = [max(int(side * scale + 0.5) // cell, 1) * cell for side in (height, width)]
    return _resized(image, target)


def random_crop(image: Tensor, size: int, scale: tuple[float, float], generator: torch.Generator | None) -> Tensor:
    """Cut out a random share of the area, of an aspect ratio between 3/4 and 4/3, and resize it to S × S.

    Where ten draws do not fit into the image, the largest central piece of an allowed ratio is taken.
    """
    height, width = image.shape[-2:]
    for _ in range(10):
        area = height * width * between(*scale, generator)
        ratio = math.exp(between(math.log(3 / 4), math.log(4 / 3), generator))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            top, left = below(height - high + 1, generator), below(width - wide + 1, generator)
            return _resized(image[:, top : top + high, left : left + wide], [size, size])
    wide, high = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    top, left = (height - high) // 2, (width - wide) // 2
    return _resized(image[:, top : top + high, left : left + wide], [size, size])


def random_flip(image: Tensor, generator: torch.Generator | None) -> Tensor:
    """Mirror left and right, one time in two."""
    return image.flip(-1) if chance(0.5, generator) else image


def _resized(image: Tensor, target: list[int]) -> Tensor:
    resized: Tensor = F.resize(image, target, InterpolationMode.BICUBIC, antialias=True)
    return resized
