"""Random augmentation: operations that are drawn anew for each image, all at one level. Images are uint8 [3, H, W]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlab.data.transforms.geometry import draw_bool, draw_int
from mtlab.data.transforms.operations import (
    ARRAY_COLOUR_OPERATIONS,
    ARRAY_OPERATIONS,
    PIL_OPERATIONS,
    Operation,
)

MAX_LEVEL = {"array": 10, "pil": 30}  #: of each family


@dataclass(frozen=True)
class AugmentationPolicy:
    """How operations are drawn."""

    pool: Mapping[str, tuple[Callable[[Tensor], Tensor], ...]]  #: name → operation, and its opposite if it has one
    draws: int  #: with replacement
    probability: float  #: with which an operation that was drawn is applied

    def __call__(self, image: Tensor, generator: torch.Generator | None) -> Tensor:
        """Augment an image."""
        names = tuple(self.pool)
        for name in [names[draw_int(len(names), generator)] for _ in range(self.draws)]:
            if self.probability < 1 and not draw_bool(self.probability, generator):
                continue
            variants = self.pool[name]
            image = variants[draw_int(len(variants), generator) if len(variants) > 1 else 0](image)
        return image


def array_policy(level: int, draws: int, *, colours: bool) -> AugmentationPolicy:
    """Make the policy of the array family (ALBEF), which applies each drawn operation with probability 0.5.

    Args:
        level: strength, 0 to 10.
        draws: number of operations drawn.
        colours: add Solarize, Color, Contrast and Posterize.

    """
    operations = {**ARRAY_OPERATIONS, **(ARRAY_COLOUR_OPERATIONS if colours else {})}
    return AugmentationPolicy(_at_strength(operations, level / MAX_LEVEL["array"]), draws, 0.5)


def pil_policy(level: int, draws: int) -> AugmentationPolicy:
    """Make the policy of the PIL family (METER), which applies each drawn operation; level 0 to 30."""
    return AugmentationPolicy(_at_strength(PIL_OPERATIONS, level / MAX_LEVEL["pil"]), draws, 1.0)


def _at_strength(
    operations: Mapping[str, Operation], strength: float
) -> dict[str, tuple[Callable[[Tensor], Tensor], ...]]:
    return {name: operation.at(strength) for name, operation in operations.items()}
