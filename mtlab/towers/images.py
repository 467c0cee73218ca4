"""Preprocessing of images for a tower, and pooling of its levels to one token grid.

Shapes: H, W pixels, S side of a tower's input, G side of a grid, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class ImagePreprocessing:
    """A tower's preprocessing: resizing to a square and normalisation."""

    size: int  #: S
    mean: tuple[float, float, float]  #: of each colour channel, for values between 0 and 1
    std: tuple[float, float, float]
    mode: str  #: of resizing, "bilinear" or "bicubic", both antialiased

    def __call__(self, image: Tensor) -> Tensor:
        """Resize an image to a square and normalise it: uint8 [3, H, W] → float32 [3, S, S]."""
        return self.normalise(_resize(image.permute(1, 2, 0).contiguous().numpy(), self.size, self.mode))

    def normalise(self, image: Tensor) -> Tensor:
        """Normalise values between 0 and 1, [3, S, S]."""
        return (image - torch.tensor(self.mean).view(3, 1, 1)) / torch.tensor(self.std).view(3, 1, 1)


def preprocess_images(
    images: Sequence[NDArray[np.uint8]], size: int, mean: Sequence[float], std: Sequence[float], mode: str
) -> Tensor:
    """Resize images to a square and normalise them, independently of each other.

    The aspect ratio is not kept, so that no part of the image is lost: a question may be about a corner.

    Args:
        images: uint8 [H, W, 3], of any sizes.
        size: S.
        mean: of each colour channel, for values between 0 and 1.
        std: likewise.
        mode: "bilinear" or "bicubic", both antialiased.

    Returns:
        float32 [B, 3, S, S].

    """
    scaled = torch.stack([_resize(image, size, mode) for image in images])
    return (scaled - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def _resize(image: NDArray[np.uint8], size: int, mode: str) -> Tensor:
    tensor = torch.tensor(image).permute(2, 0, 1).float() / 255  # copies: the image may be read-only
    if tensor.shape[1:] == (size, size):
        return tensor
    return F.interpolate(tensor[None], (size, size), mode=mode, antialias=True).clamp(0, 1)[0]


def pool_to_grid(level: Tensor, grid: tuple[int, int]) -> Tensor:
    """Pool a level [B, C, h, w] to a grid and flatten it to tokens in reading order, [B, G², C]."""
    if level.shape[-2:] != grid:
        level = F.adaptive_avg_pool2d(level, grid)
    return level.flatten(2).transpose(1, 2)
