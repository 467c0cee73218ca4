"""The same as `test_faults.py` with the real command and the real worker: `mtlab run`, killed, and run again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mtlab.runs.lock import parse_holder, read_lock

STUDY = """
kind: ablation
name: tiny
why: Is anything lost when processes are killed?
set:
  text: {name: tiny_text, depth: 3, width: 16, heads: 2, layers: all}
  vision: {name: planted, depth: 3, planted: 2, width: 16, tokens: 3}
  model: {width: 16, heads: 2, cross_layers: 2, mlp_ratio: 2, dropout: 0.1}
  data: {name: planted, train: 100, val: 40, test: 40}
  cache: {enabled: false}
  train: {length: {steps: 120}, batch: 16, eval_every: 20, checkpoint_every: 15}
axes:
  manager: [bridge, adaptive]
baseline: {manager: bridge}
seeds: 2
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def mtlab_run(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "out.txt").open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "mtlab", "run", "tiny.yaml", "--store", "runs", "--retries", "10"],
            cwd=folder,
            stdout=out,
            stderr=out,
            env={**os.environ, "MTLAB_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )


def outcomes(folder: Path) -> dict[str, Any]:
    """All that must repeat: results, metrics, outcomes, weights; time, memory and host left out."""
    found: dict[str, Any] = {}
    for run in sorted((folder / "runs" / "cells").glob("*/s*")):
        name = f"{run.parent.name}/{run.name}"
        result = json.loads((run / "result.json").read_text())
        for key in ("seconds", "examples_per_second", "memory_mib"):
            del result["cost"][key]
        found[name] = result
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        found[f"{name} metrics"] = [{key: row[key] for key in row if key != "seconds"} for row in rows]
        for file in (
            "examples.parquet",
            "layers.safetensors",
            "trace.safetensors",
            "tokens.safetensors",
            "checkpoints/best.safetensors",
        ):
            found[f"{name} {file}"] = (run / file).read_bytes()
    return found


def kill_workers(folder: Path) -> None:
    for path in (folder / "runs" / "cells").glob("*/s*/lock.json"):
        process = parse_holder(read_lock(path.parent))
        if process is not None:
            process.kill()


def finished(folder: Path) -> dict[Path, tuple[bytes, int]]:
    done = [path.parent for path in (folder / "runs" / "cells").glob("*/s*/result.json")]
    files = [path for run in done for path in run.rglob("*") if path.is_file() and path.name != "lock.json"]
    # `log.txt` may gain its worker's last line after `result.json`; nothing else may change.
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files if path.name != "log.txt"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.yaml").write_text(STUDY)
    assert mtlab_run(folder).wait(300) == 0, (folder / "out.txt").read_text()
    return outcomes(folder)


@pytest.mark.parametrize("target", ["worker", "launcher", "both"])
def test_killed_and_run_again(tmp_path: Path, undisturbed: dict[str, Any], target: str) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    pick = random.Random(target)
    kept: dict[Path, tuple[bytes, int]] = {}
    launcher = mtlab_run(tmp_path)
    for _ in range(3):
        try:
            launcher.wait(pick.uniform(3, 8))
            break
        except subprocess.TimeoutExpired:
            kept |= finished(tmp_path)
        if target in ("launcher", "both"):
            launcher.send_signal(signal.SIGKILL)
            launcher.wait()
        if target in ("worker", "both"):
            kill_workers(tmp_path)
        if target != "worker":
            launcher = mtlab_run(tmp_path)
    assert launcher.wait(300) == 0, (tmp_path / "out.txt").read_text()
    assert outcomes(tmp_path) == undisturbed
    now = finished(tmp_path)
    assert [str(path) for path, content in kept.items() if now[path] != content] == []
