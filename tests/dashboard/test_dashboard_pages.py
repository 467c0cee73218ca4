"""Every page of every view is drawn, whatever lies in the store, and says what it should."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import recordings
from fabric import Fabric
from safetensors import safe_open
from safetensors.numpy import load
from stores import EVIL, cells, finish, mixed

from mtlab.dashboard import app
from mtlab.dashboard.address import PageAddress
from mtlab.dashboard.app import render_page
from mtlab.dashboard.dashboard_data import DashboardData
from mtlab.dashboard.page import PageRequest, PageType
from mtlab.dashboard.study import study_page
from mtlab.runs.store import Store

Draw = Callable[[str], "Drawn"]


def header(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="np") as file:
        about: dict[str, Any] = json.loads(file.metadata()["mtlab"])
    about.pop("checksum", None)
    return about


class Drawn:
    """A page as Dash is given it."""

    def __init__(self, answer: Any) -> None:
        page, self.seen = answer
        self.title = page["title"]
        parts = [page["head"], page["controls"], page["body"]]
        self.plain = json.loads(json.dumps(parts, default=lambda part: part.to_plotly_json()))
        self.texts: list[str] = []
        self.links: list[str] = []
        self.sets: dict[str, Any] = {}
        self.figures: list[str] = []
        self._walk(self.plain)

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def _walk(self, part: Any) -> None:
        if isinstance(part, str):
            self.texts.append(part)
        elif isinstance(part, list):
            for each in part:
                self._walk(each)
        elif isinstance(part, dict) and "props" in part:
            props = part["props"]
            if part["type"] == "Link":
                self.links.append(props["href"])
            if part["type"] == "Graph":
                self.figures.append(props["id"])
            if isinstance(props.get("id"), dict) and "sets" in props["id"]:
                self.sets[props["id"]["sets"]] = props.get("value")
                self._walk([option["label"] for option in props.get("options", [])])
            self._walk(props.get("children"))


@pytest.fixture
def draw(data: DashboardData, capfd: pytest.CaptureFixture[str]) -> Draw:
    def at(address: str) -> Drawn:
        path, _, search = address.partition("?")
        drawn = Drawn(render_page(PageRequest(data, PageAddress.parse(path, f"?{search}")), None))
        assert capfd.readouterr().err == "", "the page could not be drawn"
        return drawn

    return at


def test_the_first_page_shows_all_studies(draw: Draw) -> None:
    page = draw("/")
    assert page.title == "Studies"
    assert {"/study/trial", "/study/broken", "/study/odd", "/run/stray/s0"} <= set(page.links)
    assert "10 done" in page.text
    assert "2 damaged" in page.text
    assert "has changed since it was written" in page.text
    assert "notes/of mine" in page.text
    assert "not mtlab's" in page.text
    assert draw("/?find=TRI").links[0] == "/study/trial"  # whatever else there is
    assert "has 'nothing such' in its name" in draw("/?find=nothing such").text


@pytest.mark.parametrize("tab", study_page.TABS)
@pytest.mark.parametrize(
    "chosen",
    [
        "",
        "&kind=weights",
        "&group=manager",
        "&axis.manager=last&axis.model.cross_layers=3",
        "&axis.manager=bridge&group=x",
    ],
)
def test_every_view_of_a_study_is_drawn(draw: Draw, tab: str, chosen: str) -> None:
    page = draw(f"/study/trial?tab={tab}{chosen}")
    assert page.title == "trial"
    assert page.sets["tab"] == tab
    assert f"Which is best? {EVIL}" in page.texts
    assert page.figures or tab in ("runs", "pair") or "bridge" in chosen or "last" in chosen


def test_filters_and_groups_reach_table_and_figures(draw: Draw) -> None:
    page = draw("/study/trial?axis.manager=static&axis.manager=adaptive&group=model.cross_layers")
    assert page.sets["axis.manager"] == ["static", "adaptive"]
    assert "4 of 8 variants are shown" in page.text
    assert {"model.cross_layers: 2", "model.cross_layers: 3", "static · 2", "adaptive · 3"} <= set(page.texts)
    assert "last · 2" not in page.texts
    nonsense = draw("/study/trial?axis.manager=nobody")
    assert {f"{cell.partition('-')[0]} · {cell[-1]}" for cell in cells()} <= set(nonsense.texts)


def test_the_table_can_be_ordered_by_result(draw: Draw) -> None:
    def first(page: Drawn) -> str:
        return next(text for text in page.texts if text in {"last · 2", "adaptive · 3"})

    assert first(draw("/study/trial")) == "last · 2"
    assert first(draw("/study/trial?order=result")) == "adaptive · 3"


def test_runs_are_told_as_what_they_are(draw: Draw) -> None:
    page = draw("/study/trial?tab=runs")
    for words in ("running 37 %", "interrupted 62 %", "new", "failed", "damaged", "half-written", "lower train.lr"):
        assert words in page.text
    failed = draw("/study/trial?tab=runs&state=failed")
    assert "/run/adaptive-3/s1?study=trial" in failed.links
    assert "/run/last-2/s0?study=trial" not in failed.links


def test_chosen_runs_stand_side_by_side(draw: Draw) -> None:
    page = draw("/study/trial?tab=runs&runs=last-2/s0&runs=adaptive-3/s0&runs=nobody/s0&runs=bridge-3/s0")
    assert {"figure-side-curves", "figure-side-layers"} <= set(page.figures)
    assert "manager.name" in page.texts
    assert "Layers not shown:" in page.text
    assert "Side by side" in page.texts
    assert "Side by side" not in draw("/study/trial?tab=runs&runs=nobody/s0").texts


def test_a_finished_run_shows_all_that_it_recorded(draw: Draw) -> None:
    page = draw("/run/last-2/s0?study=trial&metric=train/loss")
    assert {"figure-curves", "figure-aggregation", "figure-worth", "figure-evolution"} <= set(page.figures)
    assert page.sets["metric"] == "train/loss"
    assert any(EVIL in text for text in page.texts)  # of its log, as it stands
    assert any("name: shapes" in text for text in page.texts)
    assert {"/study/trial", "/tokens?run=last-2%2Fs0"} <= set(page.links)
    assert "500 MiB" in page.texts


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("adaptive-3/s1", "lower train.lr"),
        ("adaptive-2/s1", "running 37 %"),
        ("static-3/s1", "goes on from its last checkpoint"),
        ("static-3/s0", "not started yet"),
        ("bridge-3/s1", "A file of this run cannot be read: result.json has changed: `mtlab clean --yes`"),
        ("bridge-3/s0", "half-written, or not mtlab's"),
        ("stray/s0", "no study of this store asks for it"),
    ],
)
def test_every_other_run_says_what_is_the_matter(draw: Draw, run: str, words: str) -> None:
    page = draw(f"/run/{run}")
    assert words in page.text


def test_a_failure_comes_with_advice_and_traceback(draw: Draw) -> None:
    page = draw("/run/adaptive-3/s1")
    assert f"Attempt 1 failed: nan: loss is NaN at step 12 {EVIL}" in page.texts
    assert any(text.startswith("What to do: lower train.lr") for text in page.texts)
    assert f"Traceback\n{EVIL}\nDivergedError" in page.texts


def test_tokens_lie_over_the_real_picture(draw: Draw) -> None:
    page = draw("/tokens?run=adaptive-2/s0&example=val/1/0&layer=2&word=3&patch=5")
    assert {name: page.sets[name] for name in ("run", "example", "layer", "word", "patch")} == {
        "run": "adaptive-2/s0",
        "example": "val/1/0",
        "layer": "2",
        "word": "3",
        "patch": "5",
    }
    assert "“is” in every layer" in page.texts
    assert "Patch 1, 4 in every layer" in page.texts
    assert json.dumps(page.plain).count("data:image/png;base64,") >= 2
    assert "Tokens that lie nowhere in the picture: token 1" in page.text
    assert "blue ✗" in page.texts


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ("&modality=text", "Words"),
        ("&modality=image", "Patches"),
        ("&kind=weights&colour=4", "number: per cent from level 4"),
        ("&other=last-2/s0", "last-2"),
        ("&other=nobody/s0&example=nothing&layer=99&word=-1&patch=999&colour=x", "stronger colour"),
    ],
)
def test_the_explorer_switches(draw: Draw, chosen: str, words: str) -> None:
    page = draw(f"/tokens?run=adaptive-2/s0{chosen}")
    assert words in json.dumps(page.plain)


def test_image_tokens_without_a_grid_stand_in_a_row(tmp_path: Path) -> None:
    fabric = mixed(tmp_path / "runs")
    recordings.write_tokens(fabric.store.run("adaptive-2/s0"), grid={"rows": 1, "columns": 5, "prefix": 0})
    path = fabric.store.run("adaptive-2/s0") / "tokens.safetensors"
    values, about = load(path.read_bytes()), header(path)
    recordings.write(path, values, {**about, "grid": None})
    opened = DashboardData(fabric.store.root)
    page = Drawn(
        render_page(
            PageRequest(opened, PageAddress.parse("/tokens", "?run=adaptive-2/s0&patch=3&modality=image")), None
        )
    )
    assert page.sets["patch"] == "3"
    assert "Token 3 in every layer" in page.texts
    opened.close()


def test_the_explorer_says_why_there_is_nothing(draw: Draw) -> None:
    assert "the run is not finished" in draw("/tokens?run=adaptive-2/s1").text
    assert "there is no run 'nobody/s0'" in draw("/tokens?run=nobody/s0").text
    assert draw("/tokens").sets["run"] == "bridge-2/s0", "made up: its levels vary most from token to token"


def test_pages_of_old_runs_without_recordings(tmp_path: Path) -> None:
    fabric = mixed(tmp_path / "runs")
    for path in (fabric.store.root / "cells").glob("*/*/*.safetensors"):
        path.unlink()
    opened = DashboardData(fabric.store.root)
    for address in ("/study/trial?tab=layers", "/study/trial?tab=training", "/study/trial?tab=seeds", "/run/last-2/s0"):
        path, _, search = address.partition("?")
        page = Drawn(render_page(PageRequest(opened, PageAddress.parse(path, search)), None))
        assert "record" in page.text, address
    page = Drawn(render_page(PageRequest(opened, PageAddress.parse("/tokens", "")), None))
    assert f"mtlab run quickstart --store {fabric.store.root}" in page.texts
    opened.close()


def test_a_picture_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    fabric = mixed(tmp_path / "runs")
    path = fabric.store.run("adaptive-2/s0") / "config.json"
    path.write_text(path.read_text().replace('"name": "shapes"', '"name": "my_photos"'))
    opened = DashboardData(fabric.store.root)
    page = Drawn(render_page(PageRequest(opened, PageAddress.parse("/tokens", "?run=adaptive-2/s0")), None))
    assert "Without the picture: the data set 'my_photos' is not opened here" in page.text
    assert len([text for text in page.texts if text in "23456"]) > 10  # the patches are there all the same
    opened.close()


def test_an_empty_store_says_what_to_run(tmp_path: Path) -> None:
    Store.open(tmp_path / "runs", create=True)
    opened = DashboardData(tmp_path / "runs")
    page = Drawn(render_page(PageRequest(opened, PageAddress.parse("/", "")), None))
    assert "There is no study in this store yet." in page.texts
    command = f"mtlab run quickstart --store {tmp_path / 'runs'}"
    assert command in page.texts
    assert command in Drawn(render_page(PageRequest(opened, PageAddress.parse("/tokens", "")), None)).texts
    opened.close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/nowhere", "There is no page /nowhere here."),
        ("/study", "name one study in the address"),
        ("/study/tria", "did you mean 'trial'?"),
        ("/study/..%2F..%2Fetc", "is no name for a study"),
        ("/study/broken", "this study cannot be read"),
        ("/study/odd", "Planning the study's file again"),
        ("/run/..%2F..%2Fetc/s0", "there is no run"),
        ("/run/nobody/s0", "there is no run 'nobody/s0'"),
    ],
)
def test_wrong_addresses_are_told(draw: Draw, address: str, words: str) -> None:
    page = draw(address)
    assert words in page.text
    assert "/" in page.links or any(text.startswith("mtlab plan FILE --store ") for text in page.texts)


def test_a_page_is_drawn_again_only_if_it_would_change(tmp_path: Path) -> None:
    fabric = mixed(tmp_path / "runs")
    opened = DashboardData(fabric.store.root, max_age=0.0)
    request = PageRequest(opened, PageAddress.parse("/study/trial", "?tab=runs"))
    opened.verdict(opened.study("trial"), wait=60)
    first = render_page(request, None)
    assert first is not None
    assert render_page(request, first[1]) is None
    fabric.fail("adaptive-2", 0)
    (fabric.store.run("adaptive-2/s0") / "result.json").unlink()
    opened.verdict(opened.study("trial"), wait=60)
    again = render_page(request, first[1])
    assert again is not None
    assert render_page(request, again[1]) is None
    assert render_page(PageRequest(opened, request.address, dark=True), again[1]) is not None
    assert render_page(PageRequest(opened, PageAddress.parse("/study/trial", "")), again[1]) is not None
    opened.close()


def test_what_nobody_expected_becomes_a_page_and_is_printed(
    data: DashboardData, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_: PageRequest) -> None:
        raise RuntimeError("what now?")

    monkeypatch.setitem(app.PAGES, "study", PageType(fail, lambda _: 0))
    page = Drawn(render_page(PageRequest(data, PageAddress.parse("/study/trial", "")), None))
    assert "This page cannot be drawn: RuntimeError: what now?" in page.texts
    assert "RuntimeError: what now?" in capfd.readouterr().err


def test_figures_are_dark_on_dark_pages(data: DashboardData) -> None:
    def ground(dark: bool) -> Any:
        page = Drawn(render_page(PageRequest(data, PageAddress.parse("/study/trial", "?tab=layers"), dark), None))
        found: list[Any] = []

        def walk(part: Any) -> None:
            if isinstance(part, dict):
                if part.get("type") == "Graph":
                    found.append(part["props"]["figure"]["layout"]["template"]["layout"]["paper_bgcolor"])
                for each in part.values():
                    walk(each)
            elif isinstance(part, list):
                for each in part:
                    walk(each)

        walk(page.plain)
        return set(found)

    assert ground(True) != ground(False)
    assert len(ground(True)) == 1


def test_pages_import_no_torch(root: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from mtlab.dashboard.app import make_app, render_page
from mtlab.dashboard.dashboard_data import DashboardData
from mtlab.dashboard.page import PageRequest
from mtlab.dashboard.address import PageAddress
data = DashboardData(Path({str(root)!r}))
make_app(data)
for path, search in [("/", ""), ("/run/last-2/s0", ""), ("/tokens", "?run=last-2/s0"), ("/study/trial", "?tab=pair")]:
    render_page(PageRequest(data, PageAddress.parse(path, search)), None)
data.close()
print("torch" in sys.modules, "pandas" in sys.modules, "transformers" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False False"
    assert done.stderr == ""


def test_a_search_is_no_comparison(fabric: Fabric) -> None:
    for cell in ("bridge", "static"):
        finish(fabric, cell, 0, 1)
    plan = fabric.plan(["bridge", "static"], seeds=1, baseline=None, study="search", kind="sweep")
    fabric.store.write_plan("search", {**plan, "baseline": "bridge", "storage": "journal"})
    opened = DashboardData(fabric.store.root)
    for tab in study_page.TABS:
        page = Drawn(render_page(PageRequest(opened, PageAddress.parse("/study/search", f"?tab={tab}")), None))
        assert page.title == "search"
        assert "A search for the best settings of each variant." in page.text
        if tab == "comparison":
            assert f"mtlab sweep dashboard search --store {fabric.store.root}" in page.texts
            assert "The search cannot be read" in page.text, "it has no journal"
            assert page.figures == []
    opened.close()


def test_a_thousand_runs_are_paged(fabric: Fabric) -> None:
    names = [f"c{number}" for number in range(150)]
    fabric.store.write_plan("big", fabric.plan(names, seeds=1, baseline="c0", study="big"))
    opened = DashboardData(fabric.store.root)
    for page, there, missing in (("1", "c0", "c149"), ("2", "c149", "c0"), ("99", "c149", "c0"), ("x", "c0", "c149")):
        drawn = Drawn(render_page(PageRequest(opened, PageAddress.parse("/study/big", f"?tab=runs&page={page}")), None))
        assert f"/run/{there}/s0?study=big" in drawn.links
        assert f"/run/{missing}/s0?study=big" not in drawn.links
    opened.close()
