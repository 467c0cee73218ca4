"""Calls with a time limit."""

from __future__ import annotations

import threading

import pytest

from mtlab.time_limit import call_within


def test_the_answer_or_the_error_of_the_call_is_handed_on() -> None:
    assert call_within(60.0, lambda: threading.current_thread().daemon)
    assert call_within(60.0, lambda: None) is None
    with pytest.raises(ZeroDivisionError):
        call_within(60.0, lambda: 1 / 0)


def test_a_call_that_hangs_is_abandoned() -> None:
    over = threading.Event()
    with pytest.raises(TimeoutError, match="no answer in 0 s"):
        call_within(0.01, over.wait)
    over.set()
