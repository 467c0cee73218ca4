"""What a finished run gave: its `result.json`, and every number in it by the name of a metric."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.runs import manifest

THEN = " then "  #: in `mixes`: between conditions that changed within the run
PLUGIN = "plug-in"  #: in `mixes`: begins the name of a class whose source it holds
_COST_NAMES = {"flops_forward": "flops", "memory_mib": "memory"}  #: as metrics name them: cost/flops, cost/memory
_LARGEST = 1e100  #: no metric is as large as this


def write_result(run: Path, result: Mapping[str, Any]) -> None:
    """Write the checksums and the `result.json` of a run, which finishes it.

    The checkpoint for resuming, two thirds of a run's disk space, is removed then; where the worker is killed before
    that, by `mtlab clean`. Nobody can take the run over meanwhile.

    Raises:
        LockedError: the run was taken over before.
        UserError: the disk is full, or the folder may not be written.

    """
    text = files.json_text(result)
    with files.fence(run / "result.json"):
        manifest.write(run, text)
        with files.atomic_write(run / "result.json") as scratch:
            scratch.write_text(text, encoding="utf-8")
            files.sync(scratch)
        (run / "checkpoints" / "last.safetensors").unlink(missing_ok=True)


def read_result(run: Path) -> dict[str, Any]:
    """Read the `result.json` of a finished run.

    Raises:
        FileNotFoundError: the run is not finished.
        UserError: the file has changed since it was written.

    """
    data = files.read_bytes(run / "result.json")
    manifest.verify(run, "result.json", data)
    result: dict[str, Any] = json.loads(data)
    return result


def is_test(metric: str) -> bool:
    """Return whether a metric is of test data, which a search may neither see nor show."""
    return metric.startswith("test/")


def numbers(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the metrics and costs of a result; a cost is None where it could not be measured."""
    return {name: float(value) for name, value in result["metrics"].items()} | costs(result.get("cost", {}))


def costs(cost: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the costs of a result as metrics: cost/params is the sum over parts, cost/params/PART one part."""
    parts = cost.get("params", {})
    named: dict[str, float | None] = {"cost/params": float(sum(parts.values())) if parts else None}
    named |= {f"cost/params/{part}": float(number) for part, number in parts.items()}
    for name, value in cost.items():
        if name != "params":
            named[f"cost/{_COST_NAMES.get(name, name)}"] = None if value is None else float(value)
    return named


def numeric_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a `metrics.jsonl` that have a step, without values that are no finite number."""
    return [_numeric(row) for row in rows if type(row.get("step")) is int and abs(row["step"]) < 2**63]


def _numeric(row: Mapping[str, Any]) -> dict[str, Any]:
    values = row.items()
    return {name: value for name, value in values if type(value) in (int, float) and -_LARGEST <= value <= _LARGEST}
