"""The final numbers of a run, for trackers that keep them beside the curves."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

BEST = "best/"  #: before names that curves have too


def final_numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a summary; those of the best checkpoint that are also curves as `best/val/…`."""
    return {
        f"{BEST}{name}" if name.startswith(("val/", "train/")) else name: float(value)
        for name, value in summary.items()
        if isinstance(value, Real)
    }
