"""A vision tower's own preprocessing as a transform, with or without augmentation.

Shapes: H, W pixels of an original image, S side of the tower's input.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtlab.data.transforms.base import ImageTransform
from mtlab.towers.images import ImagePreprocessing


class TowerPreprocessing(ImageTransform):
    """A tower's own preprocessing.

    Args:
        preprocessing: the tower's.

    """

    def __init__(self, preprocessing: ImagePreprocessing) -> None:
        self.preprocessing = preprocessing

    def __call__(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG002 - deterministic
        """Make pixels: uint8 [3, H, W] → float32 [3, S, S]."""
        return self.preprocessing(image)


class AugmentedPreprocessing(ImageTransform):
    """A named transform followed by the tower's own normalisation.

    Args:
        transform: augments and resizes to S × S.
        preprocessing: the tower's.

    """

    random = True

    def __init__(self, transform: ImageTransform, preprocessing: ImagePreprocessing) -> None:
        self.transform = transform
        self.preprocessing = preprocessing

    def __call__(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Make pixels: uint8 [3, H, W] → float32 [3, S, S]."""
        return self.preprocessing.normalise(self.transform.fit(image, generator).float() / 255)
