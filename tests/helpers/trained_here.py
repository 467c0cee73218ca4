"""Studies whose runs are trained in the test's own process, one after the other: no process has to start for each."""

from __future__ import annotations

from pathlib import Path

from mtlab.runs.store import Store
from mtlab.studies.plan import make_plan, run_configs, to_json
from mtlab.studies.spec import read_study
from mtlab.training.worker import train


def run_study(file: Path, store: Store) -> None:
    """Plan a study and train its runs; parents come first."""
    plan = make_plan(read_study(file))
    store.claim_study(plan.study.name, file, file.read_text())
    store.write_plan(plan.study.name, to_json(plan))
    for run, config in run_configs(plan).items():
        assert train(store.create_run(run, config)) == 0
