"""A time limit for calls that may hang, such as those of a library that asks the network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def call_within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """Call a function in a thread of its own, which is abandoned after so many seconds.

    Raises:
        TimeoutError: it takes longer.
        Exception: whatever the function raises.

    """
    answers: list[Answer] = []
    errors: list[Exception] = []

    def answer() -> None:
        try:
            answers.append(call())
        except Exception as error:  # handed to the calling thread
            errors.append(error)

    thread = threading.Thread(target=answer, name="time limit", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no answer in {seconds:.0f} s")
    return answers[0]
