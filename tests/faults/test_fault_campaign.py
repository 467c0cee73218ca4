"""The fault campaign in its short form: every fault once. `make faults` plays each many times."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from campaign import FAULTS, Fault, theatre
from stage import Report

QUICK = {"metrics damaged", "best checkpoint damaged", "disk full, each kind of write", "kill -9 of both"}
EACH = [fault if fault.name in QUICK else pytest.param(fault, marks=pytest.mark.slow) for fault in FAULTS]


@pytest.fixture(scope="module")
def play() -> Iterator[Callable[[Fault, int], Report]]:
    with theatre() as played:
        yield played


@pytest.mark.slow
@pytest.mark.parametrize("fault", EACH, ids=lambda fault: fault.name)
def test_nothing_is_lost_nothing_is_wrong_and_it_is_told(fault: Fault, play: Callable[[Fault, int], Report]) -> None:
    if why := fault.missing():
        pytest.skip(why)
    report = play(fault, 1)
    assert (report.lost, report.wrong, report.explained, report.note) == (0, 0, True, "")
