"""Random numbers for transforms, each drawn from the generator that is passed in."""

from __future__ import annotations

import torch


def between(low: float, high: float, generator: torch.Generator | None) -> float:
    """Draw a number evenly between two bounds."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def below(number: int, generator: torch.Generator | None) -> int:
    """Draw one of 0, 1, …, number − 1."""
    return int(torch.randint(number, (), generator=generator))


def chance(probability: float, generator: torch.Generator | None) -> bool:
    """Come out True in this share of the draws."""
    return between(0, 1, generator) < probability
