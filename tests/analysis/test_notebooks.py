"""Every notebook of analysis/, run on a shrunken copy of its study that is really trained."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl
import pytest
from calling import mtlab
from shrunken import shrink_study, shrink_sweep
from trained_here import run_study

from mtlab.runs.store import Store

FOLDER = Path(__file__).parents[2] / "analysis"
NOTEBOOKS = {path.stem for path in FOLDER.glob("*.py")}
STUDIES = {  #: notebook → the study that it opens, as small as its claim allows
    "managers": lambda folder: shrink_study("managers", folder, zipped=4),
    "experts": lambda folder: shrink_study("experts", folder),
    "depth": lambda folder: shrink_study("depth", folder),
    "queries": lambda folder: shrink_study("queries", folder),
    "towers": lambda folder: shrink_study("towers", folder),
    "tasks": lambda folder: shrink_study("tasks", folder, listed=2),
    "pretraining": lambda folder: shrink_study("pretraining", folder, listed=2),
    "planted": lambda folder: shrink_study("planted", folder),
}
QUICK = {"planted"}  #: the others take longer, and show little more of the code


def run_notebook(name: str) -> tuple[go.Figure, pl.DataFrame]:
    """Run a notebook as a script; return the figure and the table that it ends in."""
    cells: dict[str, Any] = runpy.run_path(str(FOLDER / f"{name}.py"))
    return cells["figure"], cells["table"]


@pytest.mark.parametrize(
    ("name", "shrink"),
    [
        pytest.param(name, shrink, id=name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name, shrink in STUDIES.items()
    ],
)
def test_a_notebook_ends_in_the_figure_and_the_table_of_its_claim(
    name: str,
    shrink: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MTLAB_STORE", str(tmp_path / "runs"))
    if name == "pretraining":
        shrink_study("pretraining_captions", tmp_path, listed=2)
    store = Store.open(tmp_path / "runs", create=True)
    run_study(shrink(tmp_path), store)
    capsys.readouterr()
    figure, table = run_notebook(name)
    plan = store.plan(name)
    assert plan["why"] in capsys.readouterr().out
    assert figure.data, "nothing was drawn"
    assert table.height > 0
    if "label" in table.columns:
        assert set(table["label"]) == {row["label"] for row in plan["rows"]}
    assert any(table[name].drop_nulls().len() for name in table.columns if table[name].dtype.is_numeric())


@pytest.mark.slow
def test_the_notebooks_of_the_tuned_managers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTLAB_STORE", str(tmp_path / "runs"))
    done = mtlab("sweep", shrink_sweep("managers", tmp_path, variants=slice(0, 4)), seconds=800)
    assert done.returncode == 0, done.stdout + done.stderr
    figure, table = run_notebook("tuned_managers")
    assert figure.data
    assert list(table["label"]) == ["bridge", "mean", "static", "adaptive"]
    assert table["mean"].null_count() == 0
    figure, table = run_notebook("adaptive")
    assert figure.data
    assert set(table["weights"]) == {"mean of tokens", "mean of questions", "same family", "same picture"}
    assert table["mean"].null_count() == 0


def test_every_notebook_is_run_and_listed() -> None:
    assert {*STUDIES, "tuned_managers", "adaptive"} == NOTEBOOKS
    readme = (FOLDER / "README.md").read_text()
    assert all(f"[{name}.py]({name}.py)" in readme for name in NOTEBOOKS)
    for name in NOTEBOOKS:
        text = (FOLDER / f"{name}.py").read_text()
        assert text.startswith("# %% [markdown]\n# # ")
        assert "**Question.**" in text
        assert "**Claim to test.**" in text
        assert "## The figure of the claim" in text
        assert "## The table of the claim" in text
