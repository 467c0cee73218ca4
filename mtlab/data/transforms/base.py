"""The interface of an image transform.

Shapes: H, W pixels of an image as it came, S side of a tower's input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mtlab.config.nodes import lookup_options
from mtlab.config.options import option
from mtlab.config.registry import Registry

CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class ImageTransform:
    """An image transform. A subclass registers a name and implements `fit`.

    Args:
        config: the checked options, an instance of `Config`.

    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options in the YAML."""

        size: int = option(224, "S, side of the tower's input, in pixels", minimum=8, maximum=4096)

    config: Config
    only_normalised_otherwise: ClassVar[str] = ""  #: the transform of the same pixels; in a study towers normalise
    flip: ClassVar[bool] = False  #: mirrors one image in two
    random: ClassVar[bool] = False  #: uses random numbers, so that the tower's features cannot be cached
    square: ClassVar[bool] = True  #: the result is S × S; else images of different shapes do not fit into one batch
    moments: ClassVar[tuple[tuple[float, float, float], tuple[float, float, float]]] = CLIP  #: mean and deviation

    def __init__(self, config: Any) -> None:
        self.config = config
        mean, deviation = self.moments
        self._mean = torch.tensor(mean).view(3, 1, 1) * 255
        self._deviation = torch.tensor(deviation).view(3, 1, 1) * 255

    def __call__(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Make pixels for a tower.

        Args:
            image: uint8 [3, H, W], RGB.
            generator: of random draws; None: torch's own.

        Returns:
            float32 [3, S, S], normalised.

        """
        fitted = self.fit(image, generator)
        return fitted.float().sub_(self._mean).div_(self._deviation)

    def fit(self, image: Tensor, generator: torch.Generator | None) -> Tensor:
        """Augment and resize an image: uint8 [3, H, W] → uint8 [3, S, S]."""
        raise NotImplementedError


TRANSFORMS: Registry[ImageTransform] = Registry(
    "transform", ("mtlab.data.transforms",), "mtlab.transforms", ImageTransform
)
register_transform = TRANSFORMS.register


def build_transform(node: Mapping[str, Any]) -> ImageTransform:
    """Build the transform that a node names: `{name: albef_randaug, size: 384}`.

    Raises:
        UserError: no such name, or a wrong option.

    """
    entry, config = lookup_options(TRANSFORMS, node, "transform")
    return entry.cls(config)
