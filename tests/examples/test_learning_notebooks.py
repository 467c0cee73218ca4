"""The notebooks of examples/, each in a kernel of its own, with fewer steps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jupytext
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"
SHORTER = {'"steps": 300': '"steps": 20', '"eval_every": 100': '"eval_every": 10', '"train": 2000': '"train": 200'}
SHORTER |= {'"seeds": 3': '"seeds": 2'}


def run(name: str, folder: Path) -> list[dict[str, Any]]:
    """Run a notebook in a folder; return all that its cells show."""
    text = (NOTEBOOKS / f"{name}.py").read_text()
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    notebook = jupytext.reads(text, fmt="py:percent")
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def shown(outputs: list[dict[str, Any]], kind: str) -> list[Any]:
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def printed(outputs: list[dict[str, Any]]) -> str:
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


@pytest.mark.slow
def test_a_first_study_shows_progress_table_and_figure(tmp_path: Path) -> None:
    outputs = run("first_study", tmp_path)
    progress = [html for html in shown(outputs, "text/html") if "6 done, 0 running" in html]
    assert len(progress) == 1, "one place, redrawn in it"
    (report,) = shown(outputs, "text/markdown")
    plain = report.replace("**", "").replace(" ★", "")
    assert all(f"| {label} |" in plain for label in ("mean", "static", "adaptive"))
    (figure,) = shown(outputs, "application/vnd.plotly.v1+json")
    assert figure["data"]


@pytest.mark.slow
def test_your_own_manager_gets_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "focus.py").write_text((NOTEBOOKS.parent / "focus.py").read_text())
    outputs = run("your_own_manager", tmp_path)
    assert "it keeps the contract" in printed(outputs)
    assert re.search(r"\| (\*\*)?focus", shown(outputs, "text/markdown")[-1])


@pytest.mark.slow
def test_layer_weights_are_read_and_drawn(tmp_path: Path) -> None:
    outputs = run("layer_weights", tmp_path)
    assert len(shown(outputs, "application/vnd.plotly.v1+json")) == 3
    assert "levels (1, 2, 3, 4)" in printed(outputs)


def test_the_page_names_every_notebook() -> None:
    page = (NOTEBOOKS.parent / "README.md").read_text()
    assert [path.name for path in NOTEBOOKS.glob("*.py") if f"(notebooks/{path.name})" not in page] == []
