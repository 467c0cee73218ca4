"""What a finished run gave, every number by its name: metrics of its splits, and costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

_COST_NAMES = {"flops_forward": "flops", "memory_mib": "memory"}  #: as metrics name them: cost/flops, cost/memory


def numbers(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the metrics and costs of a run's `result.json`; a cost is None where it could not be had."""
    return {name: float(value) for name, value in result["metrics"].items()} | costs(result.get("cost", {}))


def costs(cost: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the costs of a `result.json` as metrics: cost/params is the sum over parts, cost/params/PART one part."""
    parts = cost.get("params", {})
    found: dict[str, float | None] = {"cost/params": float(sum(parts.values())) if parts else None}
    found |= {f"cost/params/{part}": float(number) for part, number in parts.items()}
    for name, value in cost.items():
        if name != "params":
            found[f"cost/{_COST_NAMES.get(name, name)}"] = None if value is None else float(value)
    return found
