"""The tests that `report.test` may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mtlab.errors import UserError, nearest
from mtlab.statistics.bootstrap import BOOTSTRAP_SEEDS, bootstrap
from mtlab.statistics.example_variance import ExampleVariance
from mtlab.statistics.numbers import Numbers
from mtlab.statistics.paired import Difference, paired_t_examples


@dataclass(frozen=True)
class SeedTest:
    """A test that `report.test` may name."""

    seeds: int  #: the fewest pairs of seeds that it takes
    words: str
    run: Callable[[Numbers, ExampleVariance | None, float], Difference]  #: differences, examples, alpha


TESTS: Mapping[str, SeedTest] = {
    "paired_t": SeedTest(2, "paired t test over seeds", lambda d, _, alpha: paired_t_examples(d, None, alpha)),
    "paired_t_examples": SeedTest(
        2, "paired t test over seeds, with the variance over test examples", paired_t_examples
    ),
    "bootstrap": SeedTest(BOOTSTRAP_SEEDS, "studentised bootstrap over seeds", lambda d, _, alpha: bootstrap(d, alpha)),
}


def lookup_test(test: str) -> SeedTest:
    """Return the test of this name.

    Raises:
        UserError: no such test.

    """
    if test == "mcnemar":
        raise UserError("mcnemar compares two trained checkpoints, not methods over seeds", key="report.test")
    if test not in TESTS:
        raise UserError(f"unknown test {test!r}; {nearest(test, TESTS)}", key="report.test")
    return TESTS[test]
