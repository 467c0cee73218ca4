"""Random augmentation: some operations, drawn anew for each image, all at one level.

All images are uint8 [3, H, W].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mtlab.data.transforms import operations as op
from mtlab.data.transforms.random_draws import below, chance

Operation = Callable[[Tensor], Tensor]
HIGHEST = {"array": 10, "pil": 30}  #: level of each family


@dataclass(frozen=True)
class AugmentationPolicy:
    """How operations are drawn."""

    #: name → operation, and the same the other way round (to the left instead of to the right) where it has two
    pool: Mapping[str, tuple[Operation, ...]]
    draws: int  #: with replacement
    probability: float  #: with which an operation that was drawn is applied

    def __call__(self, image: Tensor, generator: torch.Generator | None) -> Tensor:
        """Augment an image."""
        names = tuple(self.pool)
        for name in [names[below(len(names), generator)] for _ in range(self.draws)]:
            if self.probability < 1 and not chance(self.probability, generator):
                continue
            ways = self.pool[name]
            image = ways[below(len(ways), generator) if len(ways) > 1 else 0](image)
        return image


def array_policy(level: int, draws: int, *, colours: bool) -> AugmentationPolicy:
    """Make the policy of the array family (ALBEF's): each operation is applied one time in two.

    Args:
        level: strength, 0 to 10.
        draws: how many are drawn.
        colours: add Solarize, Color, Contrast and Posterize.

    """
    share = level / HIGHEST["array"]
    enhance = 1.8 * share + 0.1
    pool: dict[str, tuple[Operation, ...]] = {
        "Identity": (op.identity,),
        "AutoContrast": (op.auto_contrast,),
        "Brightness": (partial(op.brightness, factor=enhance),),
        "Sharpness": (partial(op.sharpness, factor=enhance),),
        "Equalize": (op.equalize,),
        "ShearX": _both(op.shear_x, 0.3 * share, op.ARRAYS),
        "ShearY": _both(op.shear_y, 0.3 * share, op.ARRAYS),
        "TranslateX": _both(op.translate_x, 10 * share, op.ARRAYS),
        "TranslateY": _both(op.translate_y, 10 * share, op.ARRAYS),
        "Rotate": _both(op.rotate, 30 * share, op.ARRAYS),
    }
    if colours:
        pool |= {
            "Solarize": (partial(op.solarize, threshold=int(256 * share)),),
            "Color": (partial(op.colour, factor=enhance, weights=op.BLUE_GREEN_RED),),
            "Contrast": (partial(op.contrast, factor=enhance, weights=op.BLUE_GREEN_RED),),
            "Posterize": (partial(op.posterize, bits=int(4 * share)),),
        }
    return AugmentationPolicy(pool, draws, 0.5)


def pil_policy(level: int, draws: int) -> AugmentationPolicy:
    """Make the policy of the PIL family (METER's): each operation that was drawn is applied; level 0 to 30."""
    share = level / HIGHEST["pil"]
    enhance = 1.8 * share + 0.1
    pool: dict[str, tuple[Operation, ...]] = {
        "AutoContrast": (op.auto_contrast,),
        "Equalize": (op.equalize,),
        "Rotate": _both(op.rotate, 30 * share, op.PIL),
        "Posterize": (partial(op.posterize, bits=max(1, int(4 * share))),),
        "Solarize": (partial(op.solarize, threshold=256 * share),),
        "SolarizeAdd": (partial(op.solarize_add, addition=int(110 * share)),),
        "Color": (partial(op.colour, factor=enhance),),
        "Contrast": (partial(op.contrast, factor=enhance),),
        "Brightness": (partial(op.brightness, factor=enhance),),
        "Sharpness": (partial(op.sharpness, factor=enhance),),
        "ShearX": _both(op.shear_x, 0.3 * share, op.PIL),
        "ShearY": _both(op.shear_y, 0.3 * share, op.PIL),
        "TranslateXabs": _both(op.translate_x, 100 * share, op.PIL),
        "TranslateYabs": _both(op.translate_y, 100 * share, op.PIL),
    }
    return AugmentationPolicy(pool, draws, 1.0)


def _both(operation: Callable[..., Tensor], amount: float, ground: op.Ground) -> tuple[Operation, Operation]:
    return partial(operation, amount=amount, ground=ground), partial(operation, amount=-amount, ground=ground)
