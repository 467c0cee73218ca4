"""Figures as files: in their own size and format, and what is missing is told."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import plotly.graph_objects as go
import psutil
import pytest
from fabric import Fabric
from patience import wait_for
from PIL import Image

from mtlab.cli import main
from mtlab.errors import UserError
from mtlab.report.figures import render, theme


def made() -> go.Figure:
    return theme.finish(go.Figure(go.Scatter(x=[1, 2], y=[3, 4])), "Title", "n = 1 seed", 200)


@pytest.mark.slow
def test_files_have_the_figures_size_and_the_endings_format(tmp_path: Path) -> None:
    pytest.importorskip("kaleido")
    figures = {tmp_path / f"a{ending}": theme.resize(made(), 500) for ending in render.FORMATS}
    render.write_figures(figures)
    height = figures[tmp_path / "a.png"].layout.height
    assert Image.open(tmp_path / "a.png").size == (1000, 2 * height)
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").startswith("<svg")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_a_notebook_runs_a_loop_already(tmp_path: Path) -> None:
    pytest.importorskip("kaleido")

    async def cell() -> None:
        render.write_figures({tmp_path / "a.png": made()})

    asyncio.run(cell())
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_another_ending_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.gif: \.gif: expected one of \.png, \.svg, \.pdf"):
        render.write_figures({tmp_path / "a.gif": made()})


@pytest.mark.parametrize("font", ["Nimbus 9", "Absent 9"])
def test_a_font_that_the_browser_lacks_is_told(
    four: Fabric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], font: str
) -> None:
    drawn: list[str] = []

    def render_images(figures: list[tuple[go.Figure, str]]) -> list[bytes]:
        """Draw texts as a browser does: in the first of their fonts that is there."""
        fonts = [(figure.layout.annotations[0].font, figure.layout.template.layout.font) for figure, _ in figures]
        families = [own.family or general.family for own, general in fonts]
        drawn.extend(families)
        return [family.replace("'Absent 9', ", "").partition(",")[0].encode() for family in families]

    monkeypatch.setattr(render, "render_images", render_images)
    four.store.write_plan("trial", four.plan(["last", "bridge"]))
    words = ["figures", "trial", "comparison", "--font", font, "--dark", "--store", four.store.root, "--out", tmp_path]
    monkeypatch.setattr(sys, "argv", ["mtlab", *map(str, words)])
    assert main() == 0
    told = capsys.readouterr().err
    assert told == (
        ""
        if font == "Nimbus 9"
        else "--font Absent 9: the browser that draws the figures has no such font, and takes another\n"
    )
    assert drawn[-1] == f"'{font}'"


def test_a_missing_package_is_told_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(UserError, match=r"needs the package kaleido: pip install 'mtlab\[images\]'"):
        render.write_figures({tmp_path / "a.png": made()})
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_browser_is_kept_for_a_while_and_replaced_when_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kaleido")

    def browsers() -> set[int]:
        found: set[int] = set()
        try:
            children = psutil.Process().children(recursive=True)
        except IndexError:  # psutil met a process that was just ending, whose entry is empty: once more
            return browsers()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                if "--remote-debugging-pipe" in " ".join(child.cmdline()):
                    found.add(child.pid)
        return found

    first = render.render_images([(made(), "png")])
    started = browsers()
    assert started
    assert render.render_images([(made(), "png")]) == first
    assert browsers() == started
    for pid in started:
        with suppress(ProcessLookupError):  # ends with another of them
            os.kill(pid, signal.SIGKILL)
    monkeypatch.setattr(render, "IDLE", 0.1)
    assert render.render_images([(made(), "png")]) == first
    wait_for(lambda: not browsers())


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "render.close_browser(); os._exit(0)"])
def test_a_process_that_ends_leaves_no_folder_of_its_browser(end: str) -> None:
    pytest.importorskip("kaleido")
    code = (
        "import os, plotly.graph_objects as go; from mtlab.report.figures import render;"
        f"render.render_images([(go.Figure(), 'png')]); {end}"
    )
    with tempfile.TemporaryDirectory() as folder:  # short: that of pytest is too long for a browser's socket
        subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TMPDIR": folder})
        wait_for(lambda: not os.listdir(folder))


@pytest.mark.slow
def test_a_temporary_folder_too_long_for_a_browser_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kaleido")
    folder = tmp_path / ("x" * render.TEMPORARY)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    render.close_browser()
    with pytest.raises(UserError, match=r"socket in a folder of such length, .*x: set TMPDIR to a shorter one"):
        render.render_images([(made(), "png")])


def test_a_fork_has_a_browser_of_its_own_and_ends_at_once() -> None:
    """The thread of the one before is not there: whoever waited for its answer would wait for ever."""
    before = render._browser()
    child = os.fork()
    if child == 0:
        started = time.monotonic()
        before.close()
        os._exit(0 if render._browser() is not before and time.monotonic() - started < render.CLOSING else 1)
    assert os.waitpid(child, 0)[1] == 0
