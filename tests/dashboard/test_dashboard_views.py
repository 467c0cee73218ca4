"""Addresses hold what is chosen; what anybody else writes into them chooses nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtlab.dashboard.app import chosen
from mtlab.dashboard.controls import Chosen
from mtlab.dashboard.views import View, address, run_address

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(
    st.lists(TEXT.filter(lambda part: part.strip("/")), max_size=3),
    st.dictionaries(TEXT, st.lists(TEXT, min_size=1, max_size=3), max_size=4),
)
def test_any_choice_survives_the_address(path: list[str], choice: dict[str, list[str]]) -> None:
    view = View(tuple(path)).changed(choice)
    assert View.parse(view.pathname, view.search) == view


def test_a_study_and_a_run_have_addresses() -> None:
    assert address("study", "a b/c", tab="runs", runs=["x/s0", "y/s1"]) == (
        "/study/a%20b%2Fc?tab=runs&runs=x%2Fs0&runs=y%2Fs1"
    )
    assert run_address("ab12/s0", study="") == "/run/ab12/s0"


def test_only_what_is_known_can_be_chosen() -> None:
    view = View.parse("/study/x", "?tab=nonsense&axis.a=1&axis.a=7&empty=")
    assert view.one("tab", ["runs", "layers"], "layers") == "layers"
    assert view.many("axis.a", ["7", "8", "1"]) == ["7", "1"]
    assert view.one("missing", ["a"], "a") == "a"
    assert view.text("empty") == ""


@pytest.mark.parametrize("search", ["?", None, "", "?=&&&", "?%ff=%fe", "?a=%00"])
def test_odd_addresses_are_no_trouble(search: str | None) -> None:
    assert View.parse("//study///x", search).path == ("study", "x")


def test_controls_write_what_differs_from_their_defaults() -> None:
    view = View.parse("/study/x", "?kind=weights&runs=a/s0&other=kept")
    values = [
        Chosen("kind", "contributions", "contributions"),
        Chosen("axis.a", "", ["1", "2"]),
        Chosen("find", "", None),
    ]
    after = chosen(view, values, [])
    assert after.search == "?runs=a%2Fs0&other=kept&axis.a=1&axis.a=2"


def test_ticks_add_and_take_away_and_keep_the_order() -> None:
    view = View.parse("/study/x", "?runs=b/s0&runs=elsewhere/s0")
    picks = [Chosen("runs", "a/s0", ["yes"]), Chosen("runs", "b/s0", ["yes"]), Chosen("runs", "c/s0", [])]
    after = chosen(view, [], picks)
    assert after.chosen["runs"] == ("b/s0", "elsewhere/s0", "a/s0")
    assert chosen(after, [], picks) == after
    assert chosen(after, [], [Chosen("runs", "b/s0", [])]).chosen["runs"] == ("elsewhere/s0", "a/s0")
