"""A finished study with recorded layers, and a browser to look at its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import recordings
from browser import chromium, visit  # noqa: F401 - fixtures

from mtlab.runs.results import write_result

Maker = Callable[..., dict[str, Any]]
CELLS = ("last", "bridge", "adaptive")
CONFIG = {"manager": {"name": "last"}, "data": {"name": "shapes", "train": 64, "val": 16, "test": 16}}


@pytest.fixture
def recorded_study(fabric) -> Maker:  # type: ignore[no-untyped-def]
    """Make the study `trial`: three variants of two seeds, with all that runs record; return its plan."""

    def make(labels: dict[str, str] | None = None, *, record: bool = True, **changes: Any) -> dict[str, Any]:
        for place, cell in enumerate(CELLS):
            for seed in range(2):
                run = fabric.finish(cell, seed, 0.6 + 0.05 * place + 0.01 * seed)
                config = json.loads((run / "config.json").read_text())
                config["config"] = CONFIG | {"manager": {"name": cell, "weight": place}}
                (run / "config.json").write_text(json.dumps(config))
                rows = [{"step": n, "seconds": n, "val/accuracy": n / 100, "train/loss": 1 / n} for n in (10, 20, 30)]
                (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
                if record:
                    recordings.write_layers(run, seed, pattern=place)
                    recordings.write_trace(run, seed, pattern=place)
                    recordings.write_tokens(run, 4, pattern=place)
                    result = json.loads((run / "result.json").read_text())
                    result["interventions"] = recordings.interventions(seed=seed)
                    write_result(run, result)
        plan: dict[str, Any] = fabric.plan(CELLS, seeds=2, **changes)
        for row in plan["rows"]:
            row["label"] = (labels or {}).get(row["label"], row["label"])
        folder: Path = fabric.store.study("trial")
        folder.mkdir(parents=True)
        (folder / "spec.yaml").write_text("kind: ablation\nname: trial\n# <script>alert(1)</script>\n")
        fabric.store.write_plan("trial", plan)
        return plan

    return make
