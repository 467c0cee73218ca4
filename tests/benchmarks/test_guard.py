"""What fails CI for being slow, by made-up numbers; the real ones are measured by `make test-all`."""

from __future__ import annotations

import guard
import pytest
from alternating import Ratio

from mtlab import files

COMMITTED = {row["ratio of CPU seconds"]: row["median"] for row in files.read_json(guard.COMMITTED)["tables"]["ratios"]}
NAMES = {f"{one} / {other}": margin for (one, other), margin in guard.PAIRS.items()}


def found(times: float = 1.0, slow: str = "") -> dict[str, Ratio]:
    """Make up what was measured: the committed medians, one of them so many times as large."""
    medians = {name: each["median"] * (times if name == slow else 1) for name, each in COMMITTED.items()}
    return {name: Ratio(median, 0.9 * median, 1.1 * median, 5) for name, median in medians.items()}


def test_each_ratio_has_been_committed() -> None:
    assert COMMITTED.keys() == NAMES.keys()


def test_as_fast_as_committed_passes() -> None:
    assert not list(guard.worse(COMMITTED, found()))


@pytest.mark.parametrize("name", NAMES)
def test_a_median_beyond_the_margin_fails_and_one_within_does_not(name: str) -> None:
    assert not list(guard.worse(COMMITTED, found(NAMES[name] * 0.99, slow=name)))
    (said,) = guard.worse(COMMITTED, found(NAMES[name] * 1.01, slow=name))
    assert said.startswith(f"{name}: ")


def test_rounds_that_others_disturbed_do_not_fail() -> None:
    (one, other), *_ = guard.PAIRS
    name = f"{one} / {other}"
    median = COMMITTED[name]["median"]
    assert not list(guard.worse(COMMITTED, found() | {name: Ratio(median, median, 10 * median, 5)}))
