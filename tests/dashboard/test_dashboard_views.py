"""Addresses hold what is chosen; what anybody else writes into them chooses nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtlab.dashboard.address import PageAddress, page_href, run_href
from mtlab.dashboard.app import apply_controls
from mtlab.dashboard.controls import ControlValue

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(
    st.lists(TEXT.filter(lambda part: part.strip("/")), max_size=3),
    st.dictionaries(TEXT, st.lists(TEXT, min_size=1, max_size=3), max_size=4),
)
def test_any_choice_survives_the_address(path: list[str], choice: dict[str, list[str]]) -> None:
    view = PageAddress(tuple(path)).changed(choice)
    assert PageAddress.parse(view.pathname, view.search) == view


def test_a_study_and_a_run_have_addresses() -> None:
    assert page_href("study", "a b/c", tab="runs", runs=["x/s0", "y/s1"]) == (
        "/study/a%20b%2Fc?tab=runs&runs=x%2Fs0&runs=y%2Fs1"
    )
    assert run_href("ab12/s0", study="") == "/run/ab12/s0"


def test_only_what_is_known_can_be_chosen() -> None:
    view = PageAddress.parse("/study/x", "?tab=nonsense&axis.a=1&axis.a=7&empty=")
    assert view.one("tab", ["runs", "layers"], "layers") == "layers"
    assert view.many("axis.a", ["7", "8", "1"]) == ["7", "1"]
    assert view.one("missing", ["a"], "a") == "a"
    assert view.text("empty") == ""


@pytest.mark.parametrize("search", ["?", None, "", "?=&&&", "?%ff=%fe", "?a=%00"])
def test_odd_addresses_are_no_trouble(search: str | None) -> None:
    assert PageAddress.parse("//study///x", search).path == ("study", "x")


def test_controls_write_what_differs_from_their_defaults() -> None:
    view = PageAddress.parse("/study/x", "?kind=weights&runs=a/s0&other=kept")
    values = [
        ControlValue("kind", "contributions", "contributions"),
        ControlValue("axis.a", "", ["1", "2"]),
        ControlValue("find", "", None),
    ]
    after = apply_controls(view, values, [])
    assert after.search == "?runs=a%2Fs0&other=kept&axis.a=1&axis.a=2"


def test_ticks_add_and_take_away_and_keep_the_order() -> None:
    view = PageAddress.parse("/study/x", "?runs=b/s0&runs=elsewhere/s0")
    picks = [
        ControlValue("runs", "a/s0", ["yes"]),
        ControlValue("runs", "b/s0", ["yes"]),
        ControlValue("runs", "c/s0", []),
    ]
    after = apply_controls(view, [], picks)
    assert after.chosen["runs"] == ("b/s0", "elsewhere/s0", "a/s0")
    assert apply_controls(after, [], picks) == after
    assert apply_controls(after, [], [ControlValue("runs", "b/s0", [])]).chosen["runs"] == ("elsewhere/s0", "a/s0")
