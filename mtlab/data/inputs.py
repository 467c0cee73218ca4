"""Where a modality's inputs come from: the expert cache, or raw data that a tower is still to read.

Shapes: B texts or images, S side of what a vision tower takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mtlab.data.base import Dataset
from mtlab.data.transforms.base import ImageTransform
from mtlab.towers.base import Features, Tower

TowerInputs = Features | tuple[Tensor, ...]  #: cached levels, or what a tower's `forward` takes


class InputSource(Protocol):
    """Gives the inputs of texts or images."""

    def fetch(self, keys: Sequence[str]) -> TowerInputs:
        """Gather the inputs of these texts, or of the images with these keys, in this order."""


@dataclass(frozen=True)
class RawTexts:
    """Texts made ready for a tower that runs in every step."""

    tower: Tower[str]

    def fetch(self, keys: Sequence[str]) -> tuple[Tensor, ...]:
        """Tokenise the texts."""
        return self.tower.prepare(keys)


@dataclass(frozen=True)
class RawImages:
    """Images made ready for a tower that runs in every step."""

    tower: Tower[Any]
    dataset: Dataset

    def fetch(self, keys: Sequence[str]) -> tuple[Tensor, ...]:
        """Read the images and turn them into pixels as the tower wants them."""
        return self.tower.prepare([self.dataset.image(key) for key in keys])


@dataclass(frozen=True)
class AugmentedImages:
    """Training images, changed at random before a tower reads them."""

    transform: ImageTransform
    dataset: Dataset

    def fetch(self, keys: Sequence[str], seeds: Sequence[int]) -> tuple[Tensor, ...]:
        """Read the images and change each by a seed of its own: [B, 3, S, S]."""
        made = [self._made(key, seed) for key, seed in zip(keys, seeds, strict=True)]
        return (torch.stack(made),)

    def _made(self, key: str, seed: int) -> Tensor:
        image = torch.tensor(self.dataset.image(key)).permute(2, 0, 1)  # copies: the image may be read-only
        return self.transform(image, torch.Generator().manual_seed(seed))


def to_device(inputs: TowerInputs, device: torch.device) -> TowerInputs:
    """Move inputs to a device."""
    return inputs if device.type == "cpu" else map_tensors(inputs, lambda tensor: tensor.to(device))


def map_tensors(inputs: TowerInputs, change: Callable[[Tensor], Tensor]) -> TowerInputs:
    """Change every tensor."""
    if isinstance(inputs, Features):
        return Features(tuple(map(change, inputs.levels)), None if inputs.mask is None else change(inputs.mask))
    return tuple(map(change, inputs))
