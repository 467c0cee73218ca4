"""Random draws of transforms, each from the generator that is passed in."""

from __future__ import annotations

import torch


def draw_float(low: float, high: float, generator: torch.Generator | None) -> float:
    """Draw a number uniformly from [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def draw_int(number: int, generator: torch.Generator | None) -> int:
    """Draw an integer from 0 to number − 1."""
    return int(torch.randint(number, (), generator=generator))


def draw_bool(probability: float, generator: torch.Generator | None) -> bool:
    """Draw True with a probability."""
    return draw_float(0, 1, generator) < probability
