"""Resizing and cropping images, bicubic and antialiased; random draws, each from the generator that is passed in.

Shapes: H, W pixels of an image, S side of the result. All images are uint8 [3, H, W].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F


def resize_square(image: Tensor, size: int) -> Tensor:
    """Resize to S × S, without keeping the aspect ratio."""
    return _resize(image, [size, size])


def resize_center_crop(image: Tensor, size: int) -> Tensor:
    """Resize the shorter side to S and crop the central S × S."""
    cropped: Tensor = F.center_crop(_resize(image, [size]), [size, size])
    return cropped


def resize_keep_ratio(image: Tensor, size: int) -> Tensor:
    """Resize the shorter side to S, the longer one to no more than 1333/800 · S, both to multiples of 32."""
    height, width = image.shape[-2:]
    scale = size / min(height, width)
    longest = int(1333 / 800 * size)
    if max(height, width) * scale > longest:
        scale = longest / max(height, width)
    target = [max(int(side * scale + 0.5) // 32, 1) * 32 for side in (height, width)]
    return _resize(image, target)


def random_crop(image: Tensor, size: int, scale: tuple[float, float], generator: torch.Generator | None) -> Tensor:
    """Crop a random share of the area with an aspect ratio between 3/4 and 4/3, and resize it to S × S.

    If ten draws do not fit into the image, the largest central crop of an allowed ratio is used.
    """
    height, width = image.shape[-2:]
    for _ in range(10):
        area = height * width * draw_float(*scale, generator)
        ratio = math.exp(draw_float(math.log(3 / 4), math.log(4 / 3), generator))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            top, left = draw_int(height - high + 1, generator), draw_int(width - wide + 1, generator)
            return _resize(image[:, top : top + high, left : left + wide], [size, size])
    wide, high = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    top, left = (height - high) // 2, (width - wide) // 2
    return _resize(image[:, top : top + high, left : left + wide], [size, size])


def random_flip(image: Tensor, generator: torch.Generator | None) -> Tensor:
    """Flip horizontally with probability 0.5."""
    return image.flip(-1) if draw_bool(0.5, generator) else image


def _resize(image: Tensor, target: list[int]) -> Tensor:
    result: Tensor = F.resize(image, target, InterpolationMode.BICUBIC, antialias=True)
    return result


def draw_float(low: float, high: float, generator: torch.Generator | None) -> float:
    """Draw a number uniformly from [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def draw_int(number: int, generator: torch.Generator | None) -> int:
    """Draw an integer from 0 to number − 1."""
    return int(torch.randint(number, (), generator=generator))


def draw_bool(probability: float, generator: torch.Generator | None) -> bool:
    """Draw True with a probability."""
    return draw_float(0, 1, generator) < probability
