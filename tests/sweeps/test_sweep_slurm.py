"""`mtlab sweep` with jobs of a real Slurm cluster, its searches on a real PostgreSQL."""

import json
from pathlib import Path

import pytest
from calling import mtlab_at
from slurm_cluster import Cluster
from tiny_study import TINY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_search_and_its_winners_over_the_cluster(cluster: Cluster, database: str, tmp_path: Path) -> None:
    (tmp_path / "tune.yaml").write_text(
        TINY.replace("kind: ablation\nname: tiny\n", "kind: sweep\nname: tune-on-slurm\n")
        + f"""
over: {{manager: [bridge, static]}}
baseline: {{manager: bridge}}
space: {{train.lr: {{float: [1e-4, 1e-2], log: true}}}}
budget: {{trials: 2}}
storage: {database}
launcher: {{name: slurm, partition: normal}}
finally: {{seeds: {{until: decided, margin: 0.01, min: 2, max: 3}}}}
"""
    )
    done = mtlab_at(tmp_path, "sweep", "tune.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    status = json.loads(mtlab_at(tmp_path, "sweep", "status", "tune-on-slurm", "--json").stdout)
    assert [variant["complete"] for variant in status["variants"]] == [True, True]
    final = json.loads(mtlab_at(tmp_path, "status", "tune-on-slurm-final", "--json").stdout)
    (compared,) = final["looks"]["comparisons"]
    seeds = compared["n"]
    runs = list((tmp_path / "runs" / "cells").glob("*/s*"))
    assert len(runs) == 4 + 2 * seeds  # two trials each, and the better one again on fresh seeds, look by look
    assert {run.name for run in runs} == {"s0"} | {f"s{1000 + number}" for number in range(seeds)}
    assert [len(list(run.glob("slurm/*_submission.sh"))) for run in runs] == [1] * len(runs)
