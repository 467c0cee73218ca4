"""The pages by keyboard, by name for those who cannot see them, and in light and dark."""

from typing import Any

import pytest
from visiting import Visit, go, option, pick, ready

pytestmark = pytest.mark.slow

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
