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
    """A tower's preprocessing: resizing to a square and normalisation.

    The aspect ratio is not kept, so that no part of the image is lost: a question may be about a corner.
    """

    size: int  #: S
    mean: tuple[float, float, float]  #: of each colour channel, for values between 0 and 1
    std: tuple[float, float, float]
    mode: str  #: of resizing, "bilinear" or "bicubic", both antialiased

    def batch(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Preprocess images independently of each other: uint8 [H, W, 3] of any sizes → float32 [B, 3, S, S]."""
        return self.normalise(torch.stack([self._resize(torch.tensor(image)) for image in images]))

    def __call__(self, image: Tensor) -> Tensor:
        """Preprocess one image: uint8 [3, H, W] → float32 [3, S, S]."""
        return self.normalise(self._resize(image.permute(1, 2, 0).contiguous()))

    def normalise(self, image: Tensor) -> Tensor:
        """Normalise values between 0 and 1, [3, S, S] or [B, 3, S, S]."""
        return (image - torch.tensor(self.mean).view(3, 1, 1)) / torch.tensor(self.std).view(3, 1, 1)

    def _resize(self, image: Tensor) -> Tensor:
        """[H, W, 3] → [3, S, S], always from one memory layout, on which the last bits depend."""
        image = image.permute(2, 0, 1).float() / 255
        if image.shape[1:] == (self.size, self.size):
            return image
        size = (self.size, self.size)
        return F.interpolate(image[None], size, mode=self.mode, antialias=True).clamp(0, 1)[0]


def pool_to_grid(level: Tensor, grid: tuple[int, int]) -> Tensor:
    """Pool a level [B, C, h, w] to a grid and flatten it to tokens in reading order, [B, G², C]."""
    if level.shape[-2:] != grid:
        level = F.adaptive_avg_pool2d(level, grid)
    return level.flatten(2).transpose(1, 2)
