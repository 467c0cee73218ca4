"""Studies that take seconds, and the command line as users call it: a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TINY = """
kind: ablation
name: tiny
why: Does the tool work from end to end?
set:
  text: {name: tiny_text, depth: 3, width: 16, layers: all}
  vision: {name: tiny_vision, depth: 3, width: 16, layers: all}
  data: {name: shapes, train: 96, val: 24, test: 24}
  model: {width: 16, heads: 2, cross_layers: 1, mlp_ratio: 1}
  train: {batch: 16, length: {steps: 6}, eval_every: 3, checkpoint_every: 2}
"""

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def study(tmp_path: Path) -> Callable[[str], Path]:
    """Write a study of tiny runs and return its path."""

    def write(text: str, name: str = "study") -> Path:
        (tmp_path / "tiny.yaml").write_text(TINY)
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"base: tiny\nname: {name}\n{text}\n")
        return path

    return write


@pytest.fixture
def mtlab() -> Command:
    """Run `mtlab ARGUMENTS` and return its exit code and output."""

    def call(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mtlab", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=250, check=False
        )

    return call
