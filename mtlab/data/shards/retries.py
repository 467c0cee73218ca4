"""Retries reads that fail or stall. The last attempt raises an `UnreadableError` with the reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mtlab.errors import one_line
from mtlab.files import DiskError

T = TypeVar("T")


class UnreadableError(DiskError):
    """A file of a data set cannot be read, after several attempts: its disk, or its network, does not answer."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for a read, and how often to retry it."""

    timeout: float = 30.0  #: seconds without a byte after which an attempt has failed
    attempts: int = 4
    delay: float = 0.5  #: seconds before the second attempt; doubled for each further one


def retry(attempt: Callable[[], T], file: str, retries: RetryPolicy, *, wait_for_missing: bool = False) -> T:
    """Call `attempt` until it succeeds, at most as often as the policy allows.

    Args:
        attempt: a read that may fail.
        file: what is read, for errors.
        retries: how often, with which delay.
        wait_for_missing: retry a missing file too, because it was there before.

    Raises:
        FileNotFoundError: the file is missing.
        UnreadableError: every attempt failed; gives the last reason.

    """
    for number in range(1, retries.attempts + 1):
        last = number == retries.attempts
        try:
            return attempt()
        except FileNotFoundError:
            if last or not wait_for_missing:
                raise
        except (OSError, EOFError) as error:
            reason = one_line(error)
            if isinstance(error, TimeoutError):
                reason = f"nothing came for {retries.timeout:g} seconds"
            if last:
                raise UnreadableError(f"cannot be read, {number} times: {reason}", file=file) from None
        time.sleep(retries.delay * 2 ** (number - 1))
    raise AssertionError("the last attempt returns or raises")
