"""A source of features by which a batch tells what it holds."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mtlab.towers.base import Features


class Numbers:
    """A source whose one feature is the number that a key holds; example n has n + 1 real tokens."""

    def fetch(self, keys: Sequence[str]) -> Features:
        numbers = [int(key.split("x")[0]) for key in keys]
        longest = max(numbers) + 1
        mask = torch.tensor([[place <= number for place in range(longest)] for number in numbers])
        return Features((torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1).expand(-1, longest, 1),), mask)
