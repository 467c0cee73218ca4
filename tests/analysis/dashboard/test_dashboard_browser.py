"""The dashboard in a real browser: every page opens, what is chosen stays chosen, and nothing leaves the machine."""

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stores import EVIL, finish, log, mixed
from tiny_study import write_study
from werkzeug.serving import make_server

from mtlab.analysis.dashboard import shell, studies, study
from mtlab.analysis.dashboard.app import make_app
from mtlab.analysis.dashboard.data import Data
from mtlab.analysis.dashboard.page import Look, Page
from mtlab.analysis.dashboard.serve import guarded
from mtlab.studies.store import Store

pytestmark = pytest.mark.slow

Visit = Callable[..., Any]
Serve = Callable[[Path], str]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Serve stores, as the command does, from this process."""
    begun = []

    def begin(root: Path) -> str:
        data = Data(root)
        server = make_server("127.0.0.1", 0, guarded(make_app(data).server, local=True), threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        begun.append((server, data))
        return f"http://127.0.0.1:{server.port}"

    yield begin
    for server, data in begun:
        server.shutdown()
        data.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store in which everything occurs, with a study of runs that were really trained."""
    folder: Path = tmp_path_factory.mktemp("browser")
    root = folder / "runs"
    mixed(root)
    path = write_study(folder, "axes: {manager: [bridge, adaptive]}\nbaseline: {manager: bridge}\nseeds: 2", "real")
    subprocess.run(
        [sys.executable, "-m", "mtlab", "run", str(path), "--store", str(root)], check=True, capture_output=True
    )
    return root


@pytest.fixture(scope="module")
def base(store: Path, serve: Serve) -> str:
    return serve(store)


def ready(page: Any, title: str) -> None:
    """Wait until a page is drawn."""
    page.wait_for_selector("html:not(.going)", state="attached")
    page.wait_for_selector(f"h1:has-text('{title}')")


def drawn(page: Any) -> int:
    """Count the figures that are drawn, once all are."""
    asked = page.locator(".graph").count()
    for place in range(asked):
        page.locator(".graph .main-svg").nth(place).wait_for(state="attached")
    return int(asked)


def pick(page: Any, label: str, option: str) -> None:
    """Choose an option of a menu."""
    page.locator(f".control:has(.label:text-is('{label}')) button").click()
    page.locator(".dash-dropdown-content .dash-dropdown-option", has_text=option).first.click()


def option(page: Any, text: str) -> Any:
    """Find a button of a switch."""
    return page.locator(".switch label", has=page.get_by_text(text, exact=True))


#: Can one see where the keyboard is?
MARKED = """() => {
  const at = document.activeElement;
  const near = [at, at.closest("label"), at.closest(".dash-dropdown-wrapper")].filter((each) => each);
  const styles = near.flatMap((each) => [each, ...each.children]).map((each) => getComputedStyle(each));
  return at === document.body || styles.some((style) => style.outlineStyle !== "none" || style.boxShadow !== "none");
}"""

#: What can be used or looked at, but has no name for those who cannot see it.
NAMELESS = """() => {
  const named = (at) => at.textContent.trim() || at.getAttribute("aria-label") || at.getAttribute("aria-labelledby")
    || at.title || at.caption || at.tagName === "IMG" && at.alt !== undefined
    || at.labels && [...at.labels].some((label) => label.textContent.trim());
  const asked = document.querySelectorAll("button, a, input:not([aria-hidden]), [role=img], img, table");
  return [...asked].filter((at) => !named(at) && !at.closest(".modebar")).map((at) => at.outerHTML.slice(0, 150));
}"""

PAGES = {
    "/": "Studies",
    **{f"/study/trial?tab={tab}": "trial" for tab in study.PANES},
    **{f"/study/real?tab={tab}": "real" for tab in study.PANES},
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


def go(page: Any, address: str, title: str) -> None:
    """Go to an address within the application, as links and the back button do, and wait until it is drawn."""
    page.evaluate(
        "address => { history.pushState({}, '', address); dispatchEvent(new PopStateEvent('popstate')) }", address
    )
    ready(page, title)
    drawn(page)


@pytest.mark.parametrize(
    ("width", "dark"), [(1280, False), (1280, True), (360, False)], ids=["light", "dark", "on a phone"]
)
def test_every_page_opens(base: str, visit: Visit, width: int, dark: bool) -> None:
    page = visit(base + "/", width=width, dark=dark)
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


def test_from_studies_to_a_study_to_a_run_to_its_tokens(base: str, visit: Visit) -> None:
    page = visit(base + "/")
    page.get_by_role("link", name="trial", exact=True).click()
    ready(page, "trial")
    assert page.title() == "trial · mtlab"
    option(page, "Runs").click()
    page.get_by_role("link", name="adaptive · 2, seed 0").click()
    ready(page, "adaptive · 2")
    page.get_by_role("link", name="See it word by word and patch by patch").click()
    ready(page, "Token explorer")
    assert page.url == f"{base}/tokens?run=adaptive-2%2Fs0"
    page.go_back()
    ready(page, "adaptive · 2")
    page.go_back()
    ready(page, "trial")
    assert option(page, "Runs").get_attribute("class").count("selected") == 1


def test_an_address_opens_the_same_view_elsewhere(base: str, visit: Visit) -> None:
    page = visit(base + "/study/trial")
    ready(page, "trial")
    option(page, "Layers").click()
    page.wait_for_url("**tab=layers*")
    pick(page, "manager", "static")
    page.keyboard.press("Escape")
    page.wait_for_url("**axis.manager=static*")
    pick(page, "group by", "model.cross_layers")
    page.wait_for_url("**group=model.cross_layers*")
    option(page, "raw weights").click()
    page.wait_for_url("**kind=weights*")
    drawn(page)
    other = visit(page.url)
    ready(other, "trial")
    drawn(other)
    for each in (page, other):
        assert "2 of 8 variants are shown" in each.locator("#body").inner_text()
        assert "weight of each level" in each.locator("figcaption").first.inner_text()
    assert other.locator("#controls").inner_text() == page.locator("#controls").inner_text()


def test_back_takes_a_choice_back(base: str, visit: Visit) -> None:
    page = visit(base + "/study/trial?tab=curves")
    ready(page, "trial")
    pick(page, "metric", "train/loss")
    page.wait_for_url("**metric=train%2Floss*")
    page.locator("h3", has_text="train/loss").wait_for()
    page.go_back()
    page.locator("h3", has_text="val/accuracy").wait_for()
    assert "val/accuracy" in page.locator("#controls").inner_text()
    page.go_forward()
    page.locator("h3", has_text="train/loss").wait_for()
    assert "train/loss" in page.locator("#controls").inner_text()


def test_ticked_runs_stand_side_by_side(base: str, visit: Visit) -> None:
    page = visit(base + "/study/trial?tab=runs")
    ready(page, "trial")
    for name in ("last · 2, seed 0", "adaptive · 3, seed 0"):
        page.get_by_role("checkbox", name=name).check()
        page.locator("th", has_text=name).first.wait_for()
    page.wait_for_url("**runs=last-2%2Fs0&runs=adaptive-3%2Fs0*")
    page.locator("#figure-side-layers .main-svg").first.wait_for(state="attached")
    page.get_by_role("checkbox", name="last · 2, seed 0").uncheck()
    page.wait_for_url(lambda url: "last-2" not in url)


def test_the_explorer_is_walked_through_by_keyboard(base: str, visit: Visit) -> None:
    page = visit(base + "/tokens?run=adaptive-2/s0")
    ready(page, "Token explorer")
    page.locator(".words input").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**word=2*")
    page.get_by_text("“colour” in every layer").wait_for()
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**word=3*")
    page.get_by_text("“is” in every layer").wait_for()
    page.locator(".patches label").nth(5).click()
    page.get_by_text("Patch 2, 2 in every layer").wait_for()
    box, patch = page.evaluate(
        """() => [document.querySelector(".patches"), document.querySelectorAll(".patches label")[15]].map(
            (one) => { const { right, bottom } = one.getBoundingClientRect(); return { right, bottom }; }
        )"""
    )
    assert abs(patch["right"] - box["right"]) < 2  # they cover the picture
    assert abs(patch["bottom"] - box["bottom"]) < 2
    assert page.locator("img.picture").evaluate("image => image.complete && image.naturalWidth") == 128
    option(page, "1").click()
    page.wait_for_url("**layer=1*")
    pick(page, "beside it", "last · 2, seed 1")
    page.locator(".panel").nth(1).wait_for()
    assert page.url.count("word=3") == 1


def test_the_page_can_be_used_by_keyboard(base: str, visit: Visit) -> None:
    page = visit(base + "/study/trial")
    ready(page, "trial")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
        assert page.evaluate(MARKED), page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
    assert any("table" in str(name) for name in seen)
    page.locator("#controls .switch input").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**tab=curves*")
    assert page.evaluate("document.activeElement.value") == "curves"  # it is where it was


def test_every_control_has_a_name(base: str, visit: Visit) -> None:
    page = visit(base + "/")
    for address, title in (
        ("/study/trial?tab=runs", "trial"),
        ("/tokens?run=adaptive-2/s0", "Token explorer"),
        ("/run/last-2/s0", "last"),
        ("/", "Studies"),
    ):
        go(page, address, title)
        nameless = page.evaluate(NAMELESS)
        assert nameless == [], address


def test_the_theme_follows_the_system_and_the_switch(base: str, visit: Visit) -> None:
    def ground(page: Any) -> tuple[str, str]:
        page.locator(".graph .main-svg").first.wait_for(state="attached")
        body = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return body, page.locator(".graph .main-svg").first.evaluate("at => at.style.background")

    page, dark = visit(f"{base}/run/last-2/s0"), visit(f"{base}/run/last-2/s0", dark=True)
    light_ground, dark_ground = ground(page), ground(dark)
    assert light_ground[0] != dark_ground[0]
    assert light_ground[1] != dark_ground[1]
    option(page, "dark").click()
    page.locator(f".graph .main-svg[style*='{dark_ground[1]}']").first.wait_for(state="attached")
    assert ground(page) == dark_ground
    page.reload()
    ready(page, "last")
    page.locator(f".graph .main-svg[style*='{dark_ground[1]}']").first.wait_for(state="attached")
    assert ground(page) == dark_ground  # it is remembered
    dark.emulate_media(color_scheme="light")
    dark.locator(f".graph .main-svg[style*='{light_ground[1]}']").first.wait_for(state="attached")
    assert ground(dark) == light_ground


def test_what_comes_from_files_is_shown_and_never_run(base: str, visit: Visit) -> None:
    page = visit(base + "/run/adaptive-3/s1")
    ready(page, "adaptive · 3")
    assert EVIL in page.locator(".trouble").inner_text()
    page.goto(base + f"/study/trial?tab=%3Cscript%3E&find={EVIL}")
    ready(page, "trial")
    assert page.locator("img[src='x']").count() == 0


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
    draw = studies.draw

    def slowly(look: Look) -> Page:
        time.sleep(1.0)
        return draw(look)

    monkeypatch.setattr(studies, "draw", slowly)
    monkeypatch.setattr(shell, "REFRESH", 0.2)
    mixed(tmp_path / "runs")
    ready(visit(serve(tmp_path / "runs")), "Studies")


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


def test_an_empty_store_comes_to_life(tmp_path: Path, serve: Serve, visit: Visit, store: Path) -> None:
    root = tmp_path / "runs"
    Store.open(root, create=True)
    page = visit(serve(root) + "/")
    page.get_by_text("There is no study in this store yet.").wait_for()
    assert "mtlab run quickstart" in page.locator("#body").inner_text()
    for kind in ("cells", "studies"):
        shutil.copytree(store / kind, root / kind)
    page.get_by_role("link", name="real", exact=True).wait_for()


def test_a_store_that_goes_away_is_told(tmp_path: Path, serve: Serve, visit: Visit) -> None:
    mixed(tmp_path / "runs")
    page = visit(serve(tmp_path / "runs") + "/")
    page.get_by_role("link", name="trial", exact=True).wait_for()
    shutil.rmtree(tmp_path / "runs")
    page.get_by_text(re.compile("no store here")).wait_for()


def test_only_this_machine_is_asked(base: str, visit: Visit) -> None:
    page = visit(base + "/study/trial?tab=layers")
    ready(page, "trial")
    assert drawn(page) > 2
    page.evaluate("fetch('https://example.com/').catch(() => 0)")  # the policy of the pages forbids it
    assert any("Content Security Policy" in complaint for complaint in visit.complaints)
    visit.complaints.clear()
    assert visit.outside == []
