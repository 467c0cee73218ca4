"""A store with runs that were never trained: directories as workers leave them, with results of our choice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mtlab.runs.results import write_result
from mtlab.runs.store import Store

FAMILIES = ("colour", "count", "existence")


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON without waiting for the disk, as a thousand runs are made at once."""
    path.write_text(json.dumps(data), encoding="utf-8")


@dataclass
class Fabric:
    """Writes runs and studies into a store."""

    store: Store
    examples: int = 300
    per_image: int = 1  #: examples of one image

    def finish(
        self,
        cell: str,
        seed: int,
        accuracy: float,
        *,
        outcomes: bool = True,
        seconds: float = 40.0,
        device: str = "cpu",
        threads: int = 1,
        code: str = "c0de",
        torch: str = "2.13.0",
        ids: str = "q",
        floor: float | None = None,
        floor_error: float | None = 0.02,
        mixes: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write a finished run whose test accuracy is `accuracy` to the nearest example; a blind model has `floor`."""
        folder = self.start(cell, seed, code=code, device=device, threads=threads, torch=torch)
        right = np.zeros(self.examples)
        right[np.random.default_rng([len(cell), *cell.encode(), seed]).permutation(self.examples)] = np.arange(
            self.examples
        ) < round(accuracy * self.examples)
        family = np.array([FAMILIES[index % 3] for index in range(self.examples)])
        metrics = {"train/loss": 0.5, "val/loss": 0.7, "val/accuracy": accuracy + 0.01, "test/loss": 1 - accuracy}
        metrics |= {"test/accuracy": float(right.mean())}
        metrics |= {f"test/accuracy/{name}": float(right[family == name].mean()) for name in FAMILIES}
        if floor is not None:
            for name in ("", *(f"/{each}" for each in FAMILIES)):
                metrics |= {f"test/accuracy_floor{name}": floor}
                metrics |= {} if floor_error is None else {f"test/accuracy_floor_error{name}": floor_error}
        if outcomes:
            frame = pl.DataFrame(
                {
                    "split": "test",
                    "id": [f"{ids}{index}" for index in range(self.examples)],
                    "family": family,
                    "cluster": [f"{ids}{index // self.per_image}" for index in range(self.examples)],
                    "target": np.zeros(self.examples, int),
                    "prediction": 1 - right.astype(int),
                    "score": right,
                }
            )
            pl.concat([frame, frame.with_columns(split=pl.lit("val"), score=pl.lit(1.0))]).write_parquet(
                folder / "examples.parquet"
            )
        cost = {"params": {"managers": 1000 * len(cell), "head": 4000}, "trained_params": 400_000 + 1000 * len(cell)}
        cost |= {"flops_forward": 1.4e7, "flops_training": 4.2e7, "seconds": seconds + seed}
        cost |= {"examples_per_second": 700.0, "memory_mib": 500.0}
        mixes = {"device": device, "threads": threads, "micro_batch": 32, **(mixes or {})}
        result = {"format": 1, "steps": 800, "best_step": 600, "stopped_early": False, "metrics": metrics}
        write_result(folder, result | {"cost": cost, "interventions": None, "mixes": mixes})
        return folder

    def outcomes(self, cell: str, seed: int) -> pl.DataFrame:
        """Read back what a run recorded of its test examples."""
        return pl.read_parquet(self.store.run(f"{cell}/s{seed}") / "examples.parquet").filter(split="test")

    def start(
        self,
        cell: str,
        seed: int,
        *,
        code: str = "c0de",
        device: str = "cpu",
        threads: int = 1,
        torch: str = "2.13.0",
    ) -> Path:
        """Write a run that was started and cut off."""
        config = {"format": 1, "cell": cell, "seed": seed, "config": {}, "identity": {}, "label": cell, "code": code}
        folder = self.store.run(f"{cell}/s{seed}")
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "config.json", config | {"parents": []})
        state = {"attempt": 1, "host": "h", "pid": 1, "device": device, "threads": threads}
        state |= {"versions": {"mtlab": "0.1.0", "torch": torch}, "git": {"commit": "a" * 40, "dirty": False}}
        write(folder / "state.json", state)
        return folder

    def fail(self, cell: str, seed: int) -> Path:
        """Write a run that failed."""
        folder = self.start(cell, seed)
        failure = {"kind": "nan", "error": "loss is NaN at step 12", "where": "x:1", "trace": "", "attempt": 1}
        write(folder / "failure.json", failure)
        return folder

    def plan(
        self, cells: Sequence[str], seeds: int = 5, baseline: str | None = "bridge", **changes: Any
    ) -> dict[str, Any]:
        """Make the plan of a study with one axis, `manager`, every cell compared with `baseline`."""
        rows = [
            {
                "cell": cell,
                "label": cell,
                "axes": {"manager": cell},
                "axis_labels": {"manager": cell},
                "differences": {} if cell == baseline else {"manager.name": cell},
                "baseline": cell == baseline,
                "compare_to": None if cell == baseline or baseline is None else baseline,
                "note": None,
                "blind": False,
                "questions": "shapes",
            }
            for cell in cells
        ]
        cost = {"trained_params": 400_000, "flops_forward": 1.4e7, "flops": 1e12, "steps": 800}
        runs = [
            {"id": f"{cell}/s{seed}", "cell": cell, "seed": seed, "label": cell, "study": "trial"}
            | {"axes": {"manager": cell}, "parents": [], "cost": cost}
            for cell in cells
            for seed in range(seeds)
        ]
        metrics = {"choose": "val/accuracy", "verdict": "test/accuracy", "report": []}
        plan = {"study": "trial", "spec_file": "trial.yaml", "why": "Which is best?", "design": "grid"}
        plan |= {"baseline": baseline, "seeds": list(range(seeds)), "metrics": metrics, "test": "paired_t_examples"}
        plan |= {
            "directions": DIRECTIONS,
            "correct": "holm",
            "alpha": 0.05,
            "reach": None,
            "floor": None,
            "equivalence": None,
            "sequential": None,
            "overrides": [],
            "published": {},
            "published_rows": [],
            "code": "c0de",
            "tracking": {},
            "plugins": [],
            "plugin_folder": ".",
            "plugin_code": {},
            "rows": rows,
            "runs": runs,
        }
        return plan | changes


DIRECTIONS = {
    **dict.fromkeys(("val/accuracy", "test/accuracy"), "max"),
    **dict.fromkeys(("val/loss", "test/loss", "cost/params", "cost/flops", "cost/seconds"), "min"),
}


@pytest.fixture
def fabric(tmp_path: Path) -> Fabric:
    """Give an empty store to write runs into."""
    return Fabric(Store.open(tmp_path / "runs", create=True))
