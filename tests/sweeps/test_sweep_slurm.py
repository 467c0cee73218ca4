"""`mtlab sweep` with jobs of a real Slurm cluster, its searches on a real PostgreSQL."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import Cluster
from tiny_study import TINY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def mtlab(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mtlab", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "MTLAB_STORE": str(folder / "runs")},
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_search_and_its_winners_over_the_cluster(cluster: Cluster, database: str, tmp_path: Path) -> None:
    (tmp_path / "tune.yaml").write_text(
        TINY.replace("kind: ablation\nname: tiny\n", "kind: sweep\nname: tune-on-slurm\n")
        + f"""
over: {{manager: [bridge, static]}}
space: {{train.lr: {{float: [1e-4, 1e-2], log: true}}}}
budget: {{trials: 2}}
storage: {database}
launcher: {{name: slurm, partition: normal}}
finally: {{seeds: 1}}
"""
    )
    mtlab(tmp_path, "sweep", "tune.yaml")
    status = json.loads(mtlab(tmp_path, "sweep", "status", "tune-on-slurm", "--json"))
    assert [variant["complete"] for variant in status["variants"]] == [True, True]
    runs = list((tmp_path / "runs" / "cells").glob("*/s*"))
    assert len(runs) == 6  # two trials each, and the better one again on a fresh seed
    assert [len(list(run.glob("slurm/*_submission.sh"))) for run in runs] == [1] * 6
