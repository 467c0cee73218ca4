"""A progress bar over data that are read or drawn before anything starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], what: str, total: int, *, few: int = 0) -> Iterable[T]:
    """Yield items under a bar on stderr, which keeps a command's output clean; without one up to `few` of them."""
    if total <= few:
        return items
    from rich.console import Console
    from rich.progress import track as show

    return show(items, what, total, console=Console(stderr=True), transient=True)
