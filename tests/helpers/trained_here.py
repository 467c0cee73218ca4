"""Studies whose runs are trained in the test's own process, one after the other: no process has to start for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mtlab.runs.store import Store


def every_run(config: Mapping[str, Any]) -> bool:
    return True


def run_study(file: Path, store: Store, only: Callable[[Mapping[str, Any]], bool] = every_run) -> None:
    """Plan a study and train those of its runs whose configuration `only` takes; parents come first."""
    from mtlab.studies.plan import make_plan, run_configs, to_json
    from mtlab.studies.spec import read_study
    from mtlab.training.worker import train

    plan = make_plan(read_study(file))
    store.claim_study(plan.study.name, file, file.read_text())
    store.write_plan(plan.study.name, to_json(plan))
    for run, config in run_configs(plan).items():
        directory = store.create_run(run, config)
        if only(config):
            assert train(directory) == 0


def trained_store(file: Path, only: Callable[[Mapping[str, Any]], bool] = every_run) -> Path:
    """Run a study, see `run_study`, in a store beside its file, with a cache of its own; return the store's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTLAB_CACHE", str(file.parent / "cache"))
        run_study(file, Store.open(file.parent / "runs", create=True), only)
    return file.parent / "runs"
