"""A finished study with recorded layers, and a browser to look at its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import recordings
from browser import chromium, visit  # noqa: F401 - fixtures
from fabric import Fabric

from mtlab.report.page.study_page import study_page
from mtlab.runs.results import write_result
from mtlab.runs.store import Store

Maker = Callable[..., dict[str, Any]]
CELLS = ("last", "bridge", "adaptive")
CONFIG = {"manager": {"name": "last"}, "data": {"name": "shapes", "train": 64, "val": 16, "test": 16}}


def recorded_in(fabric: Fabric) -> Maker:
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


@pytest.fixture
def recorded_study(fabric: Fabric) -> Maker:
    """Make the study in the test's own store, see `recorded_in`."""
    return recorded_in(fabric)


@pytest.fixture(scope="module")
def recorded_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of a finished study, one of whose labels looks like markup; tests read it only."""
    folder = tmp_path_factory.mktemp("page")
    fabric = Fabric(Store.open(folder / "runs", create=True))
    label = '<b>adaptive</b><img src="http://outside.example/x.png" onerror="console.error(1)">'
    plan = recorded_in(fabric)({"adaptive": label})
    path = folder / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTLAB_CACHE", str(folder / "cache"))
        path.write_text(study_page(fabric.store, plan), encoding="utf-8")
    return path
