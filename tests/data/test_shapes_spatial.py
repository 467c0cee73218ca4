"""Spatial relations of the shapes world can be learned: from frozen experts, far above what blind models reach."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STUDY = """
kind: ablation
name: spatial
base: [presets/small, presets/shapes]
why: Can a model tell where things are?
set:
  text: {layers: top3}
  vision: {layers: top3}
  data: {families: [spatial], difficulty: easy, clutter: 0.0, train: 4000, val: 100, test: 600}
  train: {length: {steps: 500}, eval_every: 250}
axes:
  manager: [bridge]
baseline: {manager: bridge}
seeds: 1
"""
BLIND = 0.25 + 0.03  #: left, right, above and below, and what `test_shapes_blind.py` allows beyond the commonest


@pytest.mark.slow
def test_a_bridge_learns_where_things_are(tmp_path: Path) -> None:
    (tmp_path / "spatial.yaml").write_text(STUDY)
    command = [sys.executable, "-m", "mtlab", "run", "spatial.yaml", "--store", "runs"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (result,) = (tmp_path / "runs" / "cells").glob("*/s0/result.json")
    assert json.loads(result.read_text())["metrics"]["test/accuracy"] >= BLIND + 0.20
