"""The dashboard in a real browser: every page opens, runs nothing of what it shows, and asks nothing outside."""

from pathlib import Path

import pytest
from stores import EVIL
from visiting import Visit, drawn, go, ready

from mtlab.dashboard.study import study_page

pytestmark = pytest.mark.slow

PAGES = {
    "/": "Studies",
    **{f"/study/trial?tab={tab}": "trial" for tab in study_page.TABS},
    **{f"/study/real?tab={tab}": "real" for tab in study_page.TABS},
    "/study/broken": "broken",
    "/study/odd": "odd",
    "/study/nobody": "Something is wrong",
    "/run/last-2/s0": "last",
    "/run/adaptive-2/s1": "adaptive",
    "/run/adaptive-3/s1": "adaptive",
    "/run/static-3/s1": "static",
    "/run/static-3/s0": "static",
    "/run/bridge-3/s1": "bridge",
    "/run/bridge-3/s0": "bridge",
    "/run/stray/s0": "stray",
    "/run/nobody/s0": "Something is wrong",
    "/tokens": "Token explorer",
    "/tokens?study=real": "Token explorer",
    "/tokens?run=adaptive-2/s0&other=last-2/s0": "Token explorer",
    "/nowhere": "No such page",
}


@pytest.mark.parametrize("width", [1280, 360], ids=["on a desk", "on a phone"])
def test_every_page_opens(base: str, visit: Visit, width: int) -> None:
    page = visit(base + "/", width=width)
    for address, title in PAGES.items():
        go(page, address, title)
        assert page.locator("#body").inner_text().strip(), address
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{address} is wider than its window"


@pytest.mark.parametrize(
    "address", ["/study/trial?tab=layers", "/run/last-2/s0", "/tokens?run=adaptive-2/s0", "/nowhere"]
)
def test_a_page_opens_by_its_address(base: str, visit: Visit, address: str) -> None:
    page = visit(base + address)
    ready(page, PAGES.get(address.partition("&")[0], "Token explorer"))
    drawn(page)


def test_what_comes_from_files_is_shown_and_never_run(base: str, visit: Visit) -> None:
    page = visit(base + "/run/adaptive-3/s1")
    ready(page, "adaptive · 3")
    assert EVIL in page.locator(".trouble").inner_text()
    page.goto(base + f"/study/trial?tab=%3Cscript%3E&find={EVIL}")
    ready(page, "trial")
    assert page.locator("img[src='x']").count() == 0


def test_only_this_machine_is_asked(base: str, visit: Visit) -> None:
    page = visit(base + "/study/trial?tab=layers")
    ready(page, "trial")
    assert drawn(page) > 2
    page.evaluate("fetch('https://example.com/').catch(() => 0)")  # the policy of the pages forbids it
    assert any("Content Security Policy" in complaint for complaint in visit.complaints)
    visit.complaints.clear()
    assert visit.outside == []


def test_figures_fit_a_narrow_window_and_are_saved_as_numbers(base: str, visit: Visit) -> None:
    page = visit(f"{base}/study/real?tab=curves&metric=val%2Faccuracy+and+val%2Floss&lines=seeds", width=390)
    ready(page, "real")
    assert drawn(page) == 1
    box = "document.querySelector('.figure [role=img]')"
    assert page.evaluate(f"{box}.scrollWidth <= {box}.clientWidth + 1")
    tops = "[...document.querySelectorAll('.graph .cartesianlayer > .subplot')].map(e => e.getBoundingClientRect().top)"
    first, second = page.evaluate(tops)
    assert second > first + 50
    with page.expect_download() as download:
        page.click("button.csv")
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "panel,name,x,y"
    assert any(line.startswith('"val/accuracy, points","bridge, seed 1",3,') for line in lines)
    page.set_viewport_size({"width": 1200, "height": 900})
    page.wait_for_function(f"Math.abs(({tops})[0] - ({tops})[1]) < 5")
