"""The page in Chromium, from the file system: it draws, its selectors work, and nothing is asked of anybody."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtlab.report.page.study_page import study_page

pytestmark = pytest.mark.slow


def scrolled(page: Any) -> None:
    """Let all figures come into sight."""
    for section in page.query_selector_all(".gallery"):
        section.scroll_into_view_if_needed()
        page.wait_for_function("section => section.dataset.drawn", arg=section)


def caption(page: Any, name: str) -> str:
    return str(page.inner_text(f"#{name} figcaption"))


def test_all_figures_are_drawn_in_both_themes_at_any_width(visit: Callable[..., Any], recorded_file: Path) -> None:
    for width, dark in ((1100, False), (380, True)):
        page = visit(recorded_file, width=width, dark=dark)
        scrolled(page)
        drawn = page.query_selector_all(".gallery[data-drawn=yes] .plot svg.main-svg")
        assert len(drawn) >= 14
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(20, 23, 28)") == dark
        tick = page.evaluate("getComputedStyle(document.querySelector('#aggregation .xtick text')).fill")
        assert tick == ("rgb(163, 172, 184)" if dark else "rgb(89, 98, 110)")


def test_selectors_and_the_switch_show_other_figures(visit: Callable[..., Any], recorded_file: Path) -> None:
    page = visit(recorded_file)
    scrolled(page)
    before = caption(page, "aggregation")
    assert before.startswith("Contribution:")
    page.check("input[name=kind][value=weights]")
    assert caption(page, "aggregation").startswith("Weight:")
    assert caption(page, "heatmaps").startswith("Weight:")
    page.check("input[name=kind][value=contributions]")
    assert caption(page, "aggregation") == before
    heat = "document.querySelector('#heatmaps .plot').data[0].z"
    shown = page.evaluate(heat)
    page.select_option("#heatmaps select", "last")
    assert page.evaluate(heat) != shown
    page.select_option("#curves select", "train/loss")
    assert page.text_content("#curves .ytitle") == "train/loss"


def test_words_and_patches_tell_their_parts_to_mouse_and_keys(visit: Callable[..., Any], recorded_file: Path) -> None:
    page = visit(recorded_file)
    page.select_option("#tokens [data-choice=run]", label="last, seed 0")
    assert page.inner_text("#tokens .told").startswith("what colour is the ring ? colour, val/0/0")
    words = page.query_selector_all("#tokens .words .token")
    assert len(words) == 6
    words[1].hover()
    assert page.inner_text("#tokens .shares strong") == "colour"
    assert len(page.query_selector_all("#tokens .shares li")) == 4  # levels and the previous state
    page.focus("#tokens .grid .token")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#tokens .shares strong") == "patch 2, 2"
    page.select_option("#tokens [data-choice=example]", "val/1/0")
    assert "✗ answers blue" in page.inner_text("#tokens .told")
    assert len(page.query_selector_all("#tokens .words .token")) == 5
    levels = page.eval_on_selector_all("#tokens .grid sub", "all => all.map((each) => each.textContent)")
    page.check("input[name=kind][value=weights]")
    page.select_option("#tokens [data-choice=layer]", "2")
    after = page.eval_on_selector_all("#tokens .grid sub", "all => all.map((each) => each.textContent)")
    assert len(after) == 16
    assert after != levels
    assert page.get_attribute("#tokens .pair img", "src").startswith("data:image/png")


def test_it_can_be_used_by_keyboard_alone(visit: Callable[..., Any], recorded_file: Path) -> None:
    page = visit(recorded_file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.tagName + (document.activeElement.dataset.choice ?? '')"))
    assert {"A", "INPUT", "DIV", "SELECTcost", "SELECTvariant"} <= set(seen)
    page.focus("#cost select")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("() => document.querySelector('#cost figcaption').textContent.includes('FLOPs')")


def test_on_paper_the_main_figures_are_there_and_light(visit: Callable[..., Any], recorded_file: Path) -> None:
    page = visit(recorded_file, dark=True)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    sheet = [each for each in page.query_selector_all(".gallery") if each.is_visible()]
    assert len(sheet) >= 6
    assert all(each.get_attribute("data-drawn") for each in sheet)
    assert not any(each.is_visible() for each in page.query_selector_all("details, select, nav"))
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tick = page.evaluate("getComputedStyle(document.querySelector('#aggregation .xtick text')).fill")
    assert tick == "rgb(89, 98, 110)"
    assert page.pdf()[:4] == b"%PDF"


def test_a_study_without_anything_draws_nothing_and_says_so(fabric, visit: Callable[..., Any], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "empty.html").write_text(study_page(fabric.store, fabric.plan(["last", "bridge"])), encoding="utf-8")
    page = visit(tmp_path / "empty.html")
    assert not page.query_selector_all(".plot")
    assert "No result yet" in page.inner_text(".verdict")


def test_no_figure_is_cut_in_a_narrow_window_or_on_paper(visit: Callable[..., Any], recorded_file: Path) -> None:
    page = visit(recorded_file, width=380)
    scrolled(page)
    cut = "[...document.querySelectorAll('figure > div')].filter(box => box.scrollWidth > box.clientWidth + 1).length"
    assert page.evaluate(cut) == 0
    beyond = "[...document.querySelectorAll('body *')].filter(each => each.getBoundingClientRect().right > 381)"
    outside = f"{beyond}.filter(each => !each.closest('.scroll, pre, svg')).map(each => each.outerHTML.slice(0, 200))"
    assert page.evaluate(outside) == []
    panels = "[...document.querySelectorAll('#comparison .xy, #comparison .x2y2')]"
    tops = f"{panels}.map(each => each.getBoundingClientRect().top)"
    first, second = page.evaluate(tops)[:2]
    assert second > first + 50  # below, not beside
    page.set_viewport_size({"width": 1100, "height": 900})
    page.wait_for_function(f"Math.abs(({tops})[0] - ({tops})[1]) < 5")
    sheets = re.findall(rb"/Type\s*/Page[^s]", page.pdf(format="A4"))
    assert 2 <= len(sheets) <= 8


def test_the_numbers_that_are_shown_are_saved(visit: Callable[..., Any], recorded_file: Path) -> None:
    page = visit(recorded_file)
    scrolled(page)
    page.select_option("#curves [data-choice=lines]", "seeds")
    with page.expect_download() as download:
        page.click("#curves button.csv")
    assert download.value.suggested_filename == "curves-val-accuracy-seeds-linear.csv"
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "panel,name,x,y"
    assert '"val/accuracy, points","bridge, seed 1",20,20' in lines
    with page.expect_download() as download:
        page.click("#comparison button.csv")
    saved = Path(download.value.path()).read_text(encoding="utf-8")
    assert re.search(r"^mean and interval,bridge,[\d.]+,bridge,[\d.]+,[\d.]+$", saved, re.MULTILINE)
    assert re.search(r'^mean and interval,"bridge, seed 1",[\d.]+,bridge,,$', saved, re.MULTILINE)


def test_numbers_that_are_saved_name_their_panels_and_are_those_shown(
    visit: Callable[..., Any], recorded_file: Path
) -> None:
    page = visit(recorded_file, width=380)  # panels lie below one another
    scrolled(page)
    saved = {}
    for name in ("aggregation", "by-family", "cost", "agreement"):
        with page.expect_download() as download:
            page.click(f"#{name} button.csv")
        text = Path(download.value.path()).read_text(encoding="utf-8")
        saved[name] = [dict(row) for row in csv.DictReader(io.StringIO(text))]
    panels = {row["panel"] for row in saved["aggregation"]}
    assert panels == {f"layer {layer}: {of}: contribution" for layer in (1, 2, 3) for of in ("text", "image")}
    shown = "document.querySelector('#by-family .plot').data[0].text.flat().map(parseFloat)"
    assert [float(row["value"]) for row in saved["by-family"]] == pytest.approx(page.evaluate(shown), abs=0.051)
    costs = {row["name"].partition(", seed")[0]: set() for row in saved["cost"]}
    for row in saved["cost"]:
        costs[row["name"].partition(", seed")[0]].add(row["x"])
    assert all(len(found) == 1 for found in costs.values()), "seeds cost what their mean costs"
    assert {row["name"] for row in saved["agreement"]} == {"chance", "two seeds", "mean of pairs of seeds"}


def test_steps_may_be_logarithmic(visit: Callable[..., Any], recorded_file: Path) -> None:
    page = visit(recorded_file)
    scrolled(page)
    kind = "document.querySelector('#curves .plot').layout.xaxis.type"
    assert page.evaluate(kind) == "linear"
    page.select_option("#curves [data-choice=steps]", "log")
    assert page.evaluate(kind) == "log"
    page.select_option("#curves [data-choice=metric]", "train/loss")
    assert page.evaluate(kind) == "log"


def test_disagreements_are_filtered_and_paged(visit: Callable[..., Any], recorded_file: Path) -> None:
    page = visit(recorded_file)
    block = page.locator("#pairs details").first
    block.locator("summary").click()
    shown = block.locator("tbody tr:not([hidden])")
    assert shown.count() == 20
    first = shown.first.inner_text()
    block.locator("[data-turn='1']").click()
    assert shown.first.inner_text() != first
    block.locator("[data-filter=family]").select_option("count")
    assert {each.locator("td").first.inner_text() for each in shown.all()} == {"count"}
    block.locator("[data-filter=right]").select_option("second")
    assert "page 1 of" in block.locator(".page").inner_text()
    for line in shown.all():
        ours, theirs = (int(cell.inner_text().rstrip("%")) for cell in line.locator("td").all()[-2:])
        assert theirs > ours
