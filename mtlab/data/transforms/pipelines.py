"""The published pipelines, by their published names.

Shapes: S side of the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mtlab.config.options import option
from mtlab.data.transforms import geometry
from mtlab.data.transforms.base import HALF, IMAGENET, ImageTransform, register_transform
from mtlab.data.transforms.policies import MAX_LEVEL, array_policy, pil_policy


@register_transform("clip")
class Clip(ImageTransform):
    """Shorter side to S, central S × S, CLIP's normalisation: the ends of long images are lost."""

    def fit(self, image: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002 - deterministic
        """Resize and crop."""
        return geometry.resize_center_crop(image, self.config.size)


@register_transform("imagenet")
class ImageNet(Clip):
    """As `clip`, with ImageNet's normalisation."""

    only_normalised_otherwise = "clip"
    moments = IMAGENET


@register_transform("vit")
class Vit(Clip):
    """As `clip`, with mean and deviation 0.5."""

    only_normalised_otherwise = "clip"
    moments = HALF


@register_transform("albef")
class Albef(ImageTransform):
    """Resized to S × S without keeping the aspect ratio: what BridgeTower and ManagerTower are evaluated with."""

    def fit(self, image: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002 - deterministic
        """Resize."""
        return geometry.resize_square(image, self.config.size)


@register_transform("pixelbert")
class PixelBert(ImageTransform):
    """Aspect ratio kept: shorter side to S, longer one to at most 1333/800 · S, both to multiples of 32."""

    square = False
    moments = HALF

    def fit(self, image: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002 - deterministic
        """Resize."""
        return geometry.resize_keep_ratio(image, self.config.size)


class _PilAugmented(ImageTransform):
    """METER's augmented pipelines: operations on the whole image, then the base pipeline."""

    @dataclass(frozen=True, kw_only=True)
    class Config(ImageTransform.Config):
        draws: int = option(2, "operations drawn for an image", minimum=0, maximum=10)
        level: int = option(9, "their strength, 0 to 30", minimum=0, maximum=MAX_LEVEL["pil"])

    random = True
    base: ClassVar[type[ImageTransform]]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._policy = pil_policy(config.level, config.draws)
        self._base = self.base(self.base.Config(size=config.size))

    def fit(self, image: Tensor, generator: torch.Generator | None) -> Tensor:
        """Augment, then resize as the base does."""
        return self._base.fit(self._policy(image, generator), generator)


@register_transform("clip_randaug")
class ClipRandAugment(_PilAugmented):
    """RandAugment (2 operations, level 9 of 30), then `clip`."""

    base = Clip


@register_transform("imagenet_randaug")
class ImageNetRandAugment(_PilAugmented):
    """RandAugment (2 operations, level 9 of 30), then `imagenet`."""

    base = ImageNet
    only_normalised_otherwise = "clip_randaug"
    moments = IMAGENET


@register_transform("vit_randaug")
class VitRandAugment(_PilAugmented):
    """RandAugment (2 operations, level 9 of 30), then `vit`."""

    base = Vit
    only_normalised_otherwise = "clip_randaug"
    moments = HALF


@register_transform("pixelbert_randaug")
class PixelBertRandAugment(_PilAugmented):
    """RandAugment (2 operations, level 9 of 30), then `pixelbert`."""

    base = PixelBert
    moments = HALF
    square = False


class _ArrayAugmented(ImageTransform):
    """ALBEF's augmented pipelines: a random crop, a random flip, then operations on S × S."""

    @dataclass(frozen=True, kw_only=True)
    class Config(ImageTransform.Config):
        draws: int = option(2, "operations drawn for an image, each applied one time in two", minimum=0, maximum=10)
        level: int = option(7, "their strength, 0 to 10", minimum=0, maximum=MAX_LEVEL["array"])

    random = True
    scale: ClassVar[tuple[float, float]] = (0.5, 1.0)  #: share of the area that is cropped
    flip = True
    colours: ClassVar[bool] = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._policy = array_policy(config.level, config.draws, colours=self.colours)

    def fit(self, image: Tensor, generator: torch.Generator | None) -> Tensor:
        """Crop, flip and augment."""
        cropped = geometry.random_crop(image, self.config.size, self.scale, generator)
        if self.flip:
            cropped = geometry.random_flip(cropped, generator)
        return self._policy(cropped, generator)


@register_transform("albef_randaug")
class AlbefRandAugment(_ArrayAugmented):
    """Random crop of at least half the area, random flip, RandomAugment (2 operations, level 7 of 10)."""


@register_transform("albef_randaug_wc")
class AlbefRandAugmentColours(_ArrayAugmented):
    """As `albef_randaug`, with colour operations: SNLI-VE, NLVR² and Flickr30K of ManagerTower."""

    colours = True


@register_transform("albef_randaug_wohf")
class AlbefRandAugmentUnflipped(_ArrayAugmented):
    """As `albef_randaug`, without the flip, as questions mention left and right: VQAv2 of ManagerTower."""

    flip = False


@register_transform("albef_randaug_pretrain")
class AlbefRandAugmentPretraining(_ArrayAugmented):
    """As `albef_randaug`, with crops down to a fifth of the image."""

    scale = (0.2, 1.0)


class _Blip(_ArrayAugmented):
    """BLIP's: ALBEF's at level 5."""

    @dataclass(frozen=True, kw_only=True)
    class Config(_ArrayAugmented.Config):
        level: int = option(5, "their strength, 0 to 10", minimum=0, maximum=MAX_LEVEL["array"])


@register_transform("blip_randaug")
class BlipRandAugment(_Blip):
    """As `albef_randaug`, at level 5."""


@register_transform("blip_randaug_wc")
class BlipRandAugmentColours(_Blip):
    """As `albef_randaug_wc`, at level 5: SNLI-VE of BridgeTower."""

    colours = True


@register_transform("blip_randaug_wohf")
class BlipRandAugmentUnflipped(_Blip):
    """As `albef_randaug_wohf`, at level 5: VQAv2 of BridgeTower."""

    flip = False


@register_transform("blip_randaug_pretrain")
class BlipRandAugmentPretraining(_Blip):
    """As `albef_randaug_pretrain`, at level 5."""

    scale = (0.2, 1.0)
