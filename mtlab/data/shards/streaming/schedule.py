"""Which texts make each training step: one epoch after the other, or a mixture of data sets by their weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from mtlab.data.shards.streaming.epoch import LANES
from mtlab.errors import UserError


@dataclass(frozen=True)
class TextSpan:
    """Consecutive texts of an epoch of a data set."""

    dataset: int  #: its number in a mixture; 0 where there is no mixture
    epoch: int
    first: int  #: number of the first text in the epoch
    size: int


def epoch_steps(texts: int, batch: int, start: int) -> Iterator[list[TextSpan]]:
    """Yield the texts of each step from `start` on, without end; an epoch has ⌊texts / batch⌋ steps.

    Raises:
        UserError: there are fewer texts than one batch.

    """
    steps = texts // batch
    if not steps:
        raise UserError(f"{batch} is more than the {texts} training examples", key="train.batch")
    step = start
    while True:
        epoch, at = divmod(step, steps)
        yield [TextSpan(0, epoch, at * batch, batch)]
        step += 1


def mixture_steps(texts: Sequence[int], weights: Sequence[float], batch: int, start: int) -> Iterator[list[TextSpan]]:
    """Yield the texts of each step of a mixture: each data set by its weight, in epochs of its own.

    The shares hold over several steps: what a data set gets too much in one step, it gets less in the following. Texts
    are handed out in grains (see `grain_size`), so that each process can keep to its own lanes.

    Raises:
        UserError: a data set has fewer texts than a grain.

    """
    grain = grain_size(batch)
    grains, whole = batch // grain, [count // grain * grain for count in texts]
    if not all(whole):
        raise UserError(
            f"a data set of a mixture has {min(texts)} texts: at least {grain} are needed for batches of {batch}"
        )
    shares = _integer_weights(weights)
    credit = [0] * len(texts)
    used = [0] * len(texts)
    step = 0
    while True:
        counts = _allot_grains(credit, shares, grains)
        if step >= start:
            yield [
                span
                for dataset, count in enumerate(counts)
                for span in _split_at_epochs(dataset, used[dataset], count * grain, whole[dataset])
            ]
        for dataset, count in enumerate(counts):
            used[dataset] += count * grain
        step += 1


def grain_size(batch: int) -> int:
    """Choose how many texts of a data set come together: at most an eighth of the batch, dividing batch and lanes."""
    size = math.gcd(batch, LANES)
    while size > 1 and size * 8 > batch:
        size //= 2
    return size


def _integer_weights(weights: Sequence[float]) -> list[int]:
    """Scale weights to integers of the same proportions."""
    exact = [Fraction(weight) for weight in weights]
    common = math.lcm(*(weight.denominator for weight in exact))
    return [int(weight * common) for weight in exact]


def _allot_grains(credit: list[int], shares: Sequence[int], grains: int) -> list[int]:
    """Give the grains of a step to the data sets with the most credit; `credit` is updated in place."""
    cost = sum(shares)
    for dataset, share in enumerate(shares):
        credit[dataset] += share * grains
    counts = [0] * len(shares)
    for _ in range(grains):
        dataset = credit.index(max(credit))
        counts[dataset] += 1
        credit[dataset] -= cost
    return counts


def _split_at_epochs(dataset: int, first: int, size: int, whole: int) -> Iterator[TextSpan]:
    """Split a span at the ends of its data set's epochs."""
    while size:
        epoch, at = divmod(first, whole)
        here = min(size, whole - at)
        yield TextSpan(dataset, epoch, at, here)
        first, size = first + here, size - here
