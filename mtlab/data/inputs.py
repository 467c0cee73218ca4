"""Sources of a modality's inputs: the expert cache, or raw data for a tower that runs in every step.

Shapes: B texts or images, S side of a vision tower's input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
    """Texts, tokenised for a tower that runs in every step."""

    tower: Tower[str]

    def fetch(self, keys: Sequence[str]) -> tuple[Tensor, ...]:
        """Tokenise the texts."""
        return self.tower.prepare(keys)


@dataclass(frozen=True)
class RawImages:
    """Images, preprocessed for a tower that runs in every step."""

    tower: Tower[Any]
    dataset: Dataset

    def fetch(self, keys: Sequence[str]) -> tuple[Tensor, ...]:
        """Read and preprocess the images."""
        return self.tower.prepare([self.dataset.image(key) for key in keys])


@dataclass(frozen=True)
class AugmentedImages:
    """Training images with random augmentation."""

    transform: ImageTransform
    dataset: Dataset

    def fetch(self, keys: Sequence[str], seeds: Sequence[int]) -> tuple[Tensor, ...]:
        """Read the images and augment each with a seed of its own: [B, 3, S, S]."""
        return (torch.stack([self._augment(key, seed) for key, seed in zip(keys, seeds, strict=True)]),)

    def _augment(self, key: str, seed: int) -> Tensor:
        image = torch.tensor(self.dataset.image(key)).permute(2, 0, 1)  # copies: the image may be read-only
        return self.transform(image, torch.Generator().manual_seed(seed))


def to_device(inputs: TowerInputs, device: torch.device) -> TowerInputs:
    """Move inputs to a device."""
    return inputs if device.type == "cpu" else map_tensors(inputs, lambda tensor: tensor.to(device))


def map_tensors(inputs: TowerInputs, change: Callable[[Tensor], Tensor]) -> TowerInputs:
    """Apply a function to every tensor."""
    if isinstance(inputs, Features):
        mask = None if inputs.mask is None else change(inputs.mask)
        return replace(inputs, levels=tuple(map(change, inputs.levels)), mask=mask)
    return tuple(map(change, inputs))
