"""Ctrl-C and SIGTERM: at once while a run is being set up, at the next safe moment while it trains."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal stopped the run. No failure: it resumes from its last checkpoint.

    Args:
        number: the signal.

    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number  #: 130 for Ctrl-C, 143 for SIGTERM, as shells have it


class Interrupts:
    """Turns signals into `Interrupted` while it is entered. A second Ctrl-C acts as it did before.

    A second SIGTERM does nothing: where launcher and worker are stopped at once, the launcher passes its own on.
    Who wants no checkpoint sends SIGKILL.

    Args:
        largest: finds the largest of the numbers of several processes, so that all of them stop at the same `check`.

    """

    def __init__(self, largest: Callable[[int], int] = lambda number: number) -> None:
        self.largest = largest
        self.pending: int | None = None
        self.deferring = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # Python delivers signals to the main thread alone: in a notebook's thread there are none
        self.before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within, a signal waits until `check` is called."""
        self.deferring = True
        try:
            yield
        finally:
            self.deferring = False

    def check(self) -> None:
        """Raise `Interrupted` if a signal is waiting, here or in a process that trains with this one."""
        if number := self.largest(self.pending or 0):
            raise Interrupted(number)

    def _take(self, number: int, _: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self.before[signal.SIGINT])
        first = self.pending is None
        self.pending = self.pending or number
        if first and not self.deferring:
            raise Interrupted(number)

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
