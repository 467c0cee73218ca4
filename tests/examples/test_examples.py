"""Every file of examples/ does what it says, on shorter runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = ("train.length.steps=4", "train.eval_every=2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__", "runs"))
    for study in (tmp_path / "examples").glob("*.yaml"):
        study.write_text(study.read_text().replace("seeds: 2", "seeds: 1").replace("[last, mean, static", "[static"))
    return tmp_path / "examples"


def run(folder: Path, *words: str) -> str:
    environment = os.environ | {"MTLAB_STORE": str(folder / "runs")}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_manager_is_compared_and_the_script_reads_its_run(folder: Path) -> None:
    table = run(folder, "-m", "mtlab", "run", "focus.yaml", *SHORT)
    assert "1/1 seeds" in table
    assert "focus" in table
    shown = run(folder, "which_levels.py", "focus:static:0", "--examples", "8")
    assert "image layer 1  level 1: 0." in shown
    assert "shape: (2, 3)" in shown  # the frame


def test_the_script_shows_a_new_model(folder: Path) -> None:
    assert run(folder, "which_levels.py", "--examples", "4").count("level 6: 0.17") == 2


@pytest.mark.slow
def test_data_tower_and_task_are_trained(folder: Path) -> None:
    assert "1/1 seeds" in run(folder, "-m", "mtlab", "run", "traffic_lights.yaml", *SHORT)


@pytest.mark.slow
def test_the_manager_keeps_the_contract(folder: Path) -> None:
    assert "focus" in run(folder, "-m", "mtlab", "check", "focus", "--plugin", "focus")


def test_the_page_names_every_file(folder: Path) -> None:
    page = (folder / "README.md").read_text()
    assert [path.name for path in folder.iterdir() if f"({path.name})" not in page and path.name != "README.md"] == []
