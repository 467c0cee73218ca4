"""docs/figures.md and docs/inspect.md, run command by command on a study called as theirs."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image
from tiny_study import write_study
from trained_here import trained_store

from mtlab.cli import main
from mtlab.cli.study.figures import _files
from mtlab.files import write_bytes
from mtlab.report.page.figure_group import FigureChoice, FigureGroup
from mtlab.runs.store import Store

DOCS = Path(__file__).parents[2] / "docs"


def commands(page: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a finished study `quickstart`, of one seed."""
    folder = tmp_path_factory.mktemp("documented")
    file = write_study(
        folder, "axes: {manager: [bridge, adaptive]}\nbaseline: {manager: bridge}\nseeds: 1", "quickstart"
    )
    return trained_store(file)


@pytest.fixture
def place(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a picture called as the documentation's."""
    monkeypatch.setenv("MTLAB_STORE", str(store))
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("cat.jpg")
    return tmp_path


@pytest.mark.parametrize("line", commands("inspect.md"))
def test_commands_of_inspect_run(
    place: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
    assert main() == 0, capsys.readouterr().err
    assert capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("line", commands("figures.md"))
def test_commands_of_figures_run(
    place: Path, store: Path, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("kaleido")
    monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
    assert main() == 0, capsys.readouterr().err
    written = re.findall(r"written to (\S+?):?(?:\s|$)", capsys.readouterr().out)
    assert written or "--out" not in line
    assert all(Path(file).stat().st_size > 1000 for file in written)


def test_every_figure_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Labels that differ in signs or case alone, in another script, or at the end of a long name."""
    labels = ["a+b", "a-b", "A-B", "a-b-2", "管理者", "桥", f"{'long ' * 60}1", f"{'long ' * 60}2"]
    choice = FigureChoice("variant", "Variant", {label: label for label in labels})
    drawn = FigureGroup("heatmaps", "In numbers", {(label,): go.Figure() for label in labels}, (choice,))
    paths = [path for path, _ in _files([drawn], tmp_path, "png", views=False)]
    assert len({path.name.casefold() for path in paths}) == len(labels)
    assert [path.stem for path in paths[:2]] == ["heatmaps-a-b", "heatmaps-a-b-2"]
    assert paths[4].name == "heatmaps-管理者.png"
    for path in paths:
        write_bytes(path, b"")


def test_the_python_of_the_page_runs(place: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "figures.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, "figures.md", "exec"), {})
    assert (place / "layers.html").stat().st_size > 1_000_000


def test_every_figure_is_documented_by_its_name_and_its_function(store: Path) -> None:
    from mtlab.report import figures
    from mtlab.report.page import study_figures
    from mtlab.report.study import StudyResults

    page = (DOCS / "figures.md").read_text(encoding="utf-8")
    opened = Store.open(store)
    drawn = study_figures.all_figures(StudyResults(opened, opened.plan("quickstart")))
    assert not {gallery.id for gallery in drawn if f"| `{gallery.id}` |" not in page}
    for module in pkgutil.walk_packages(figures.__path__, "mtlab.report.figures."):
        made: Any = importlib.import_module(module.name)
        for name, function in vars(made).items():
            returns = getattr(function, "__annotations__", {}).get("return")
            own = inspect.isfunction(function) and function.__module__ == made.__name__ and not name.startswith("_")
            short = module.name.rpartition(".")[2]
            if (
                own
                and returns in ("go.Figure", "DisagreementTable")
                and short not in ("arrangement", "panels", "search_trials", "theme", "export")
            ):
                assert f"`{short}.{name}(" in page, f"{short}.{name}"
