"""The operations of random augmentation, as tables of functions with their ranges.

Two families were published: one on arrays (with OpenCV, by ALBEF), one on PIL images (by METER). They differ in grey
weights, in borders, and in what fills the space where the image was moved away. Operations are torchvision's functions
where these give the published result to the value. All images are uint8 [3, H, W], RGB, and so are the results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

BLUE_GREEN_RED = (0.114, 0.587, 0.299)  #: the array family's grey weights of red, green, blue: a published slip


@dataclass(frozen=True)
class Motion:
    """How a family moves images."""

    fill: float  #: grey level where the image was moved away
    interpolation: InterpolationMode
    origin: float  #: of coordinates: the centre of the first pixel (0.5), or its corner (0)


ARRAY_MOTION = Motion(128.0, InterpolationMode.BILINEAR, 0.5)
PIL_MOTION = Motion(0.0, InterpolationMode.NEAREST, 0.0)


@dataclass(frozen=True)
class Operation:
    """An operation and the range of its amount, from `base` at level 0 to `base + span` at the highest level."""

    function: Callable[..., Any]  #: image, amount → image; without a span, image → image
    span: float | None = None
    base: float = 0.0
    whole: bool = False  #: the amount is rounded down
    least: int = 0  #: smallest amount that is applied, if whole
    signed: bool = False  #: applied in either direction

    def at(self, strength: float) -> tuple[Callable[[Tensor], Tensor], ...]:
        """Return the operation at a strength from 0 to 1; with its opposite if it is signed."""
        if self.span is None:
            return (self.function,)
        amount = self.span * strength + self.base
        if self.whole:
            amount = max(self.least, int(amount))
        return tuple(partial(_apply, self.function, each) for each in ((amount, -amount) if self.signed else (amount,)))


def _apply(function: Callable[..., Any], amount: float, image: Tensor) -> Tensor:
    result: Tensor = function(image, amount)
    return result


def identity(image: Tensor) -> Tensor:
    """Return the image unchanged."""
    return image


def solarize(image: Tensor, threshold: float) -> Tensor:
    """Invert grey levels from a threshold on; torchvision refuses the threshold 256."""
    return torch.where(image < float(threshold), image, 255 - image)  # the integer 256 would be 0 in uint8


def solarize_add(image: Tensor, addition: int) -> Tensor:
    """Brighten the darker half of the grey levels."""
    return torch.where(image < 128, (image.int() + addition).clamp(max=255).to(torch.uint8), image)


def colour(image: Tensor, factor: float, weights: Sequence[float] | None = None) -> Tensor:
    """Move each pixel away from its grey (factor > 1) or towards it; weights None: PIL's grey, in whole levels."""
    grey = F.rgb_to_grayscale(image).float() if weights is None else _grey(image, weights)
    return _to_levels(grey + factor * (image.float() - grey))


def contrast(image: Tensor, factor: float, weights: Sequence[float] | None = None) -> Tensor:
    """Move each pixel away from the mean grey (factor > 1) or towards it; weights None: PIL's, in whole levels."""
    grey = F.rgb_to_grayscale(image).float() if weights is None else _grey(image, weights)
    mean = (grey.mean() + 0.5).floor() if weights is None else grey.mean()
    return _to_levels(mean + factor * (image.float() - mean))


def sharpness(image: Tensor, factor: float) -> Tensor:
    """Move each pixel away from its smoothed neighbourhood (factor > 1) or towards it; the border is kept."""
    if min(image.shape[-2:]) < 3:
        return image
    kernel = torch.ones(3, 3)
    kernel[1, 1] = 5
    smooth = torch.nn.functional.conv2d(image.float().unsqueeze(1), kernel[None, None] / 13).squeeze(1).round()
    inside = image[:, 1:-1, 1:-1].float()
    sharpened = image.clone()
    sharpened[:, 1:-1, 1:-1] = _to_levels(smooth + factor * (inside - smooth))
    return sharpened


def rotate(motion: Motion, image: Tensor, degrees: float) -> Tensor:
    """Rotate counter-clockwise around the centre."""
    height, width = image.shape[-2:]
    return _move(image, motion, (width / 2, height / 2), angle=-degrees)


def shear_x(motion: Motion, image: Tensor, share: float) -> Tensor:
    """Move each row to the right by a share of its distance from the top."""
    return _move(image, motion, shear=[-_degrees(share), 0.0])


def shear_y(motion: Motion, image: Tensor, share: float) -> Tensor:
    """Move each column down by a share of its distance from the left."""
    return _move(image, motion, shear=[0.0, -_degrees(share)])


def translate_x(motion: Motion, image: Tensor, pixels: float) -> Tensor:
    """Move to the right."""
    return _move(image, motion, translate=[pixels, 0.0])


def translate_y(motion: Motion, image: Tensor, pixels: float) -> Tensor:
    """Move down."""
    return _move(image, motion, translate=[0.0, pixels])


def _move(
    image: Tensor,
    motion: Motion,
    centre: tuple[float, float] = (0.0, 0.0),
    *,
    angle: float = 0.0,
    translate: Sequence[float] = (0.0, 0.0),
    shear: Sequence[float] = (0.0, 0.0),
) -> Tensor:
    # torchvision blends the fill with zeros around the image: shift grey levels so that the fill is zero.
    moved: Tensor = F.affine(
        image.float() - motion.fill,
        angle=angle,
        translate=list(translate),
        scale=1.0,
        shear=list(shear),
        interpolation=motion.interpolation,
        center=[at + motion.origin for at in centre],
    )
    return (moved + motion.fill).round().to(torch.uint8)


def _degrees(share: float) -> float:
    return math.degrees(math.atan(share))


def _grey(image: Tensor, weights: Sequence[float]) -> Tensor:
    return (image.float() * torch.tensor(weights).view(3, 1, 1)).sum(0, keepdim=True)


def _to_levels(values: Tensor) -> Tensor:
    return values.clamp(0, 255).to(torch.uint8)


ARRAY_OPERATIONS: Mapping[str, Operation] = {
    "Identity": Operation(identity),
    "AutoContrast": Operation(F.autocontrast),
    "Brightness": Operation(F.adjust_brightness, 1.8, 0.1),
    "Sharpness": Operation(sharpness, 1.8, 0.1),
    "Equalize": Operation(F.equalize),
    "ShearX": Operation(partial(shear_x, ARRAY_MOTION), 0.3, signed=True),
    "ShearY": Operation(partial(shear_y, ARRAY_MOTION), 0.3, signed=True),
    "TranslateX": Operation(partial(translate_x, ARRAY_MOTION), 10, signed=True),
    "TranslateY": Operation(partial(translate_y, ARRAY_MOTION), 10, signed=True),
    "Rotate": Operation(partial(rotate, ARRAY_MOTION), 30, signed=True),
}
ARRAY_COLOUR_OPERATIONS: Mapping[str, Operation] = {
    "Solarize": Operation(solarize, 256, whole=True),
    "Color": Operation(partial(colour, weights=BLUE_GREEN_RED), 1.8, 0.1),
    "Contrast": Operation(partial(contrast, weights=BLUE_GREEN_RED), 1.8, 0.1),
    "Posterize": Operation(F.posterize, 4, whole=True),
}
PIL_OPERATIONS: Mapping[str, Operation] = {
    "AutoContrast": Operation(F.autocontrast),
    "Equalize": Operation(F.equalize),
    "Rotate": Operation(partial(rotate, PIL_MOTION), 30, signed=True),
    "Posterize": Operation(F.posterize, 4, whole=True, least=1),
    "Solarize": Operation(solarize, 256),
    "SolarizeAdd": Operation(solarize_add, 110, whole=True),
    "Color": Operation(colour, 1.8, 0.1),
    "Contrast": Operation(contrast, 1.8, 0.1),
    "Brightness": Operation(F.adjust_brightness, 1.8, 0.1),
    "Sharpness": Operation(sharpness, 1.8, 0.1),
    "ShearX": Operation(partial(shear_x, PIL_MOTION), 0.3, signed=True),
    "ShearY": Operation(partial(shear_y, PIL_MOTION), 0.3, signed=True),
    "TranslateXabs": Operation(partial(translate_x, PIL_MOTION), 100, signed=True),
    "TranslateYabs": Operation(partial(translate_y, PIL_MOTION), 100, signed=True),
}
