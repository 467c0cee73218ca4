"""Random numbers of the procedural worlds: the same on every platform, with every version of Python and NumPy."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b, shake_128
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Dice:
    """A random number generator that is seeded by a key.

    It uses only `random.Random(int).random()`, which Python promises not to change. (NumPy promises it for its bit
    generators, not for `Generator`.)
    """

    def __init__(self, *key: str | int) -> None:
        self._key = "/".join(map(str, key)).encode()
        self._draw = random.Random(int.from_bytes(blake2b(self._key, digest_size=8).digest(), "little")).random

    def between(self, low: float, high: float) -> float:
        """Draw uniformly from [low, high)."""
        return low + (high - low) * self._draw()

    def integer(self, low: int, high: int) -> int:
        """Draw uniformly from low … high, both included."""
        return low + int(self._draw() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """Draw True with a probability."""
        return self._draw() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Draw one item."""
        return items[int(self._draw() * len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in random order."""
        pool = list(items)
        for last in range(len(pool) - 1, 0, -1):
            other = int(self._draw() * (last + 1))
            pool[last], pool[other] = pool[other], pool[last]
        return pool

    def grain(self, *shape: int) -> NDArray[np.float32]:
        """Return noise, uniform in [0, 1] in steps of 1/255; the same at each call."""
        count = int(np.prod(shape))
        raw = np.frombuffer(shake_128(self._key).digest(count), np.uint8)
        return (raw.astype(np.float32) / np.float32(255)).reshape(shape)
