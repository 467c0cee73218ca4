"""Which texts make each step: of one epoch after the other, or of several data sets by their weights.

Shapes: G texts of a step, over all processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from mtlab.data.shards.streaming.epoch import LANES
from mtlab.errors import UserError


@dataclass(frozen=True)
class TextSpan:
    """Texts that follow each other in an epoch of a line."""

    line: int  #: which data set of a mixture; 0 where all are one
    epoch: int
    first: int  #: number of the first text in the epoch
    size: int


def epoch_steps(texts: int, batch: int, start: int) -> Iterator[list[TextSpan]]:
    """Give the texts of each step from `start` on, without end; an epoch has ⌊texts / batch⌋ steps.

    Raises:
        UserError: there are fewer texts than one batch.

    """
    whole = texts // batch
    if not whole:
        raise UserError(f"{batch} is more than the {texts} training examples", key="train.batch")
    step = start
    while True:
        epoch, at = divmod(step, whole)
        yield [TextSpan(0, epoch, at * batch, batch)]
        step += 1


def mixture_steps(texts: Sequence[int], weights: Sequence[float], batch: int, start: int) -> Iterator[list[TextSpan]]:
    """Give the texts of each step of a mixture: each data set by its weight, in epochs of its own.

    Shares are kept over the steps: what a step gives too much, the following ones give less. They are handed out in
    grains, so that each process may keep to its own lanes.

    Raises:
        UserError: a data set has fewer texts than a grain.

    """
    size = grain_size(batch)
    seats, whole = batch // size, [count // size * size for count in texts]
    if not all(whole):
        raise UserError(
            f"a data set of a mixture has {min(texts)} texts: at least {size} are needed for batches of {batch}"
        )
    shares = _whole_numbers(weights)
    credit = [0] * len(texts)
    given = [0] * len(texts)
    step = 0
    while True:
        chosen = _seated(credit, shares, seats)
        if step >= start:
            yield [
                run for line, count in enumerate(chosen) for run in _runs(line, given[line], count * size, whole[line])
            ]
        for line, count in enumerate(chosen):
            given[line] += count * size
        step += 1


def grain_size(batch: int) -> int:
    """Choose how many texts of a data set come together: an eighth of the batch at most, and a divisor of both."""
    size = math.gcd(batch, LANES)
    while size > 1 and size * 8 > batch:
        size //= 2
    return size


def _whole_numbers(weights: Sequence[float]) -> list[int]:
    """Write weights as whole numbers of the same proportions."""
    exact = [Fraction(weight) for weight in weights]
    common = math.lcm(*(weight.denominator for weight in exact))
    return [int(weight * common) for weight in exact]


def _seated(credit: list[int], shares: Sequence[int], seats: int) -> list[int]:
    """Give the seats of a step to those who are owed most; credits are brought up to date."""
    seat = sum(shares)
    for line, share in enumerate(shares):
        credit[line] += share * seats
    chosen = [0] * len(shares)
    for _ in range(seats):
        line = credit.index(max(credit))
        chosen[line] += 1
        credit[line] -= seat
    return chosen


def _runs(line: int, first: int, size: int, whole: int) -> Iterator[TextSpan]:
    """Cut a run at the ends of its data set's epochs."""
    while size:
        epoch, at = divmod(first, whole)
        here = min(size, whole - at)
        yield TextSpan(line, epoch, at, here)
        first, size = first + here, size - here
