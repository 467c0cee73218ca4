"""Which row of a testbed's card is the best on validation data while some runs are unfinished."""

from types import SimpleNamespace

import pytest

from mtlab.report.testbed.rows import best_on_validation


def row(label, **seeds):
    """Make a row with these results on validation data, s0=…, s1=…."""
    return SimpleNamespace(label=label, validation={int(name[1:]): result for name, result in seeds.items()})


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([row("a", s0=0.7, s1=0.5), row("b", s0=0.6)], "a"),  # over its own seeds `a` has 0.6, too
        ([row("a", s0=0.7, s1=0.1), row("b", s0=0.6, s2=0.9)], "a"),
        ([row("a", s0=0.7), row("b", s1=0.8)], "b"),  # no seed is shared
        ([row("a", s0=0.7)], "a"),
    ],
)
def test_rows_are_ranked_by_the_seeds_that_all_have(rows, best):
    assert best_on_validation(rows).label == best


def test_families_are_ranked_by_their_own_results():
    a, b = row("a", s0=0.7), row("b", s0=0.6)
    a.family_validation, b.family_validation = {"colour": {0: 0.2, 1: 0.9}}, {"colour": {0: 0.4}}
    assert best_on_validation([a, b], "colour").label == "b"
