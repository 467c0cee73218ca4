"""Pages in a browser while their store changes: they are live, and keep what is chosen."""

import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from stores import finish, log, mixed
from visiting import Serve, Visit, drawn, ready

from mtlab.dashboard import app, layout
from mtlab.dashboard.page import Page, PageRequest, PageType
from mtlab.runs.store import Store

pytestmark = pytest.mark.slow


def test_a_long_log_starts_at_its_end(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    fabric = mixed(tmp_path / "runs")
    lines = "".join(f"line {number} \x1b[31m\n" for number in range(5000))
    (fabric.store.run("static-3/s1") / "log.txt").write_text(lines)
    page = visit(serve(tmp_path / "runs") + "/run/static-3/s1")
    ready(page, "static · 3")
    assert "line 4999" in page.locator(".log").inner_text()
    assert "line 10 " not in page.locator(".log").inner_text()
    # both measured at one moment: figures above that are still being drawn push the log down
    page.wait_for_function(
        """() => {
            const [box, text] = [".log", ".log pre"].map((one) => document.querySelector(one).getBoundingClientRect());
            return Math.abs(text.bottom - box.bottom) < 3;
        }"""
    )


def test_the_pages_are_live_and_keep_what_is_chosen(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    fabric = mixed(tmp_path / "runs")
    page = visit(serve(tmp_path / "runs") + "/study/trial?tab=runs&state=running&runs=last-2%2Fs0")
    ready(page, "trial")
    page.get_by_text("300 of 800").wait_for()
    page.locator("summary, .log, h2").first.wait_for()
    before = page.url
    page.locator(".control:has(.label:text-is('state')) button").click()  # an open menu stays open
    menu = page.locator(".dash-dropdown-content")
    menu.wait_for()
    log(fabric.store.run("adaptive-2/s1"), 400)
    page.get_by_text("400 of 800").wait_for()
    assert menu.is_visible()
    page.keyboard.press("Escape")
    assert page.url == before
    assert page.get_by_role("checkbox", name="adaptive · 2, seed 1").is_checked() is False
    assert "Side by side" in page.locator("#body").inner_text()
    page.locator("#live input").uncheck()
    log(fabric.store.run("adaptive-2/s1"), 500)
    page.wait_for_timeout(4000)
    assert page.get_by_text("400 of 800").is_visible()
    page.locator("#live input").check()
    page.get_by_text("500 of 800").wait_for()
    (fabric.store.run("adaptive-2/s1") / "lock.json").unlink()
    finish(fabric, "adaptive-2", 1, 3)
    page.get_by_text("No run of these variants is in that state").wait_for()


def test_a_page_that_takes_longer_than_a_tick_is_seen(
    tmp_path: Path, serve: Serve, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = app.PAGES[""]

    def slowly(request: PageRequest) -> Page:
        time.sleep(1.0)
        return studies.draw(request)

    monkeypatch.setitem(app.PAGES, "", PageType(slowly, studies.state))
    monkeypatch.setattr(layout, "REFRESH", 0.2)
    mixed(tmp_path / "runs")
    ready(visit(serve(tmp_path / "runs")), "Studies")


def test_pages_go_on_after_the_server_was_away(
    tmp_path: Path, serve: Serve, visit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "REFRESH", 0.5)
    fabric = mixed(tmp_path / "runs")
    page = visit(serve(tmp_path / "runs") + "/study/trial?tab=runs&state=running")
    page.get_by_text("300 of 800").wait_for()
    page.context.set_offline(True)
    for _ in range(300):
        if visit.complaints:
            break
        page.wait_for_timeout(200)
    page.wait_for_timeout(1000)
    page.context.set_offline(False)
    log(fabric.store.run("adaptive-2/s1"), 600)
    page.get_by_text("600 of 800").wait_for(timeout=20_000)
    assert any("ERR_INTERNET_DISCONNECTED" in complaint for complaint in visit.complaints)
    visit.complaints.clear()


def test_zoom_and_scroll_survive_a_refresh(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    fabric = mixed(tmp_path / "runs")
    page = visit(serve(tmp_path / "runs") + "/run/adaptive-2/s1")
    ready(page, "adaptive · 2")
    drawn(page)
    plot = page.locator(".graph .nsewdrag").first
    box = plot.bounding_box()
    reach = "document.querySelector('.js-plotly-plot').layout.xaxis.range.join()"
    whole = page.evaluate(reach)
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 150, steps=5)
    page.mouse.up()
    page.wait_for_timeout(2500)  # Dash takes note of it, on a busy machine a while later
    zoomed = page.evaluate(reach)
    assert zoomed != whole
    page.locator("summary").first.click()
    log(fabric.store.run("adaptive-2/s1"), 600)
    page.get_by_text("step 600 of 800").wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate(reach) == zoomed
    assert page.locator("details.long").get_attribute("open") is not None


def test_an_empty_store_comes_to_life(tmp_path: Path, serve: Serve, visit: Visit, trained: Path) -> None:
    root = tmp_path / "runs"
    Store.open(root, create=True)
    page = visit(serve(root) + "/")
    page.get_by_text("There is no study in this store yet.").wait_for()
    assert "mtlab run quickstart" in page.locator("#body").inner_text()
    for kind in ("cells", "studies"):
        shutil.copytree(trained / kind, root / kind)
    page.get_by_role("link", name="real", exact=True).wait_for()


def test_a_store_that_goes_away_is_told(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    mixed(tmp_path / "runs")
    page = visit(serve(tmp_path / "runs") + "/")
    page.get_by_role("link", name="trial", exact=True).wait_for()
    shutil.rmtree(tmp_path / "runs")
    page.get_by_text(re.compile("no store here")).wait_for()
