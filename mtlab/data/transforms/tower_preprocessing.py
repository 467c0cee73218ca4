"""Pixels as a vision tower wants them, of images that are augmented first or not.

Shapes: H, W pixels of an image as it came, S side of what a tower takes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtlab.data.transforms.base import ImageTransform
from mtlab.towers.images import ImagePreprocessing


class TowerPreprocessing(ImageTransform):
    """What a tower itself does with an image.

    Args:
        fitting: the tower's.

    """

    def __init__(self, fitting: ImagePreprocessing) -> None:
        self.fitting = fitting

    def __call__(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG002 - no dice
        """Make pixels: uint8 [3, H, W] → float32 [3, S, S]."""
        return self.fitting(image)


class AugmentedPreprocessing(ImageTransform):
    """An image augmented by one of the named transforms, then normalised as the tower was trained.

    Args:
        transform: gives S × S.
        fitting: the tower's.

    """

    random = True

    def __init__(self, transform: ImageTransform, fitting: ImagePreprocessing) -> None:
        self.transform = transform
        self.fitting = fitting

    def __call__(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Make pixels: uint8 [3, H, W] → float32 [3, S, S]."""
        return self.fitting.normalised(self.transform.fit(image, generator).float() / 255)
