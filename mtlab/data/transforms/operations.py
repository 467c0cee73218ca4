"""The operations that random augmentation chooses from, without any randomness of their own.

Two families were published: one on arrays (with OpenCV), one on PIL images. They differ in grey weights, in borders and
in what shows where the image was moved away. Here both are torchvision's functions on tensors, or a few lines where it
has none. All images are uint8 [3, H, W], RGB; results too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

BLUE_GREEN_RED = (0.114, 0.587, 0.299)  #: grey weights that the array family puts on red, green, blue: a published slip


@dataclass(frozen=True)
class Ground:
    """How an image is moved, and what shows where it was moved away."""

    fill: float  #: grey level
    interpolation: InterpolationMode
    origin: float  #: of coordinates: the middle of the first pixel (0.5), or its corner (0)


ARRAYS = Ground(128.0, InterpolationMode.BILINEAR, 0.5)
PIL = Ground(0.0, InterpolationMode.NEAREST, 0.0)


def identity(image: Tensor) -> Tensor:
    """Leave everything as it is."""
    return image


def auto_contrast(image: Tensor) -> Tensor:
    """Stretch each channel to all grey levels."""
    changed: Tensor = F.autocontrast(image)
    return changed


def equalize(image: Tensor) -> Tensor:
    """Spread the grey levels of each channel evenly."""
    changed: Tensor = F.equalize(image)
    return changed


def posterize(image: Tensor, bits: int) -> Tensor:
    """Keep so many bits of each grey level."""
    changed: Tensor = F.posterize(image, bits)
    return changed


def solarize(image: Tensor, threshold: float) -> Tensor:
    """Invert grey levels from a threshold on."""
    return torch.where(image < threshold, image, 255 - image)


def solarize_add(image: Tensor, addition: int) -> Tensor:
    """Brighten the darker half of the grey levels."""
    return torch.where(image < 128, (image.int() + addition).clamp(max=255).to(torch.uint8), image)


def brightness(image: Tensor, factor: float) -> Tensor:
    """Scale all grey levels."""
    return _levels(image.float() * factor)


def colour(image: Tensor, factor: float, weights: Sequence[float] | None = None) -> Tensor:
    """Move each pixel away from its grey (factor > 1) or towards it; weights None: PIL's grey, in whole levels."""
    grey = F.rgb_to_grayscale(image).float() if weights is None else _grey(image, weights)
    return _levels(grey + factor * (image.float() - grey))


def contrast(image: Tensor, factor: float, weights: Sequence[float] | None = None) -> Tensor:
    """Move each pixel away from the mean grey (factor > 1) or towards it; weights None: PIL's, in whole levels."""
    grey = F.rgb_to_grayscale(image).float() if weights is None else _grey(image, weights)
    mean = (grey.mean() + 0.5).floor() if weights is None else grey.mean()
    return _levels(mean + factor * (image.float() - mean))


def sharpness(image: Tensor, factor: float) -> Tensor:
    """Move each pixel away from its smoothed neighbourhood (factor > 1) or towards it; the border stays as it is."""
    if min(image.shape[-2:]) < 3:
        return image
    kernel = torch.ones(3, 3)
    kernel[1, 1] = 5
    smooth = torch.nn.functional.conv2d(image.float().unsqueeze(1), kernel[None, None] / 13).squeeze(1).round()
    inside = image[:, 1:-1, 1:-1].float()
    sharpened = image.clone()
    sharpened[:, 1:-1, 1:-1] = _levels(smooth + factor * (inside - smooth))
    return sharpened


def rotate(image: Tensor, amount: float, ground: Ground) -> Tensor:
    """Turn counter-clockwise around the centre, by degrees."""
    height, width = image.shape[-2:]
    return _moved(image, ground, (width / 2, height / 2), angle=-amount)


def shear_x(image: Tensor, amount: float, ground: Ground) -> Tensor:
    """Move each row to the right by a share of its distance from the top."""
    return _moved(image, ground, shear=[-_degrees(amount), 0.0])


def shear_y(image: Tensor, amount: float, ground: Ground) -> Tensor:
    """Move each column down by a share of its distance from the left."""
    return _moved(image, ground, shear=[0.0, -_degrees(amount)])


def translate_x(image: Tensor, amount: float, ground: Ground) -> Tensor:
    """Move to the right, by pixels."""
    return _moved(image, ground, translate=[amount, 0.0])


def translate_y(image: Tensor, amount: float, ground: Ground) -> Tensor:
    """Move down, by pixels."""
    return _moved(image, ground, translate=[0.0, amount])


def _moved(
    image: Tensor,
    ground: Ground,
    centre: tuple[float, float] = (0.0, 0.0),
    *,
    angle: float = 0.0,
    translate: Sequence[float] = (0.0, 0.0),
    shear: Sequence[float] = (0.0, 0.0),
) -> Tensor:
    # Around an image, torchvision sees zeros, and blends what it fills in with them. So let the fill be zero.
    moved: Tensor = F.affine(
        image.float() - ground.fill,
        angle=angle,
        translate=list(translate),
        scale=1.0,
        shear=list(shear),
        interpolation=ground.interpolation,
        center=[at + ground.origin for at in centre],
    )
    return (moved + ground.fill).round().to(torch.uint8)


def _degrees(share: float) -> float:
    return math.degrees(math.atan(share))


def _grey(image: Tensor, weights: Sequence[float]) -> Tensor:
    return (image.float() * torch.tensor(weights).view(3, 1, 1)).sum(0, keepdim=True)


def _levels(values: Tensor) -> Tensor:
    return values.clamp(0, 255).to(torch.uint8)
