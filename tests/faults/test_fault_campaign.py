"""The fault campaign in its short form: every fault once. `make faults` plays each many times."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from campaign import FAULTS, Fault, theatre
from stage import Report


@pytest.fixture(scope="module")
def play() -> Iterator[Callable[[Fault, int], Report]]:
    with theatre() as played:
        yield played


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_nothing_is_lost_nothing_is_wrong_and_it_is_told(fault: Fault, play: Callable[[Fault, int], Report]) -> None:
    if why := fault.missing():
        pytest.skip(why)
    report = next(filter(lambda each: each.injected, (play(fault, seed) for seed in (1, 2, 3))), None)
    assert report is not None, "the fault never struck"
    assert (report.lost, report.wrong, report.explained, report.note) == (0, 0, True, "")
