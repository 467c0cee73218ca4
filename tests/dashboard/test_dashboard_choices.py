"""What is chosen in the browser is in the address: links, the back button and other windows keep it."""

import pytest
from visiting import Visit, drawn, option, pick, ready

pytestmark = pytest.mark.slow


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
