"""Which levels are on offer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtlab.errors import UserError
from mtlab.towers.levels import offered_levels


@pytest.mark.parametrize(
    ("layers", "depth", "expected"),
    [
        ("all", 3, (1, 2, 3)),
        ("top1", 6, (6,)),
        ("top3", 6, (4, 5, 6)),
        ("top6", 6, (1, 2, 3, 4, 5, 6)),
        ([1], 6, (1,)),
        ([6, 2], 6, (2, 6)),
        ([-1, 1], 6, (1, 6)),
        ((-6, -5), 6, (1, 2)),
    ],
)
def test_forms(layers, depth, expected):
    assert offered_levels(layers, depth) == expected


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ("top7", "the tower has 6"),
        ("top0", "the tower has 6"),
        ("top-1", "topN"),
        ("top", "topN"),
        ("last", "topN"),
        ([], "list of levels"),
        (3, "list of levels"),
        (None, "list of levels"),
        (True, "list of levels"),
        ([0], "no level 0"),
        ([7], "no level 7"),
        ([-7], "no level -7"),
        ([1, True], "found True"),
        ([1, "2"], "found '2'"),
        ([2.0], "found 2.0"),
        ([3, 3], "level 3 is listed twice"),
        ([6, -1], "level 6 is listed twice"),
    ],
)
def test_what_is_refused(layers, problem):
    with pytest.raises(UserError, match=problem) as caught:
        offered_levels(layers, 6)
    assert caught.value.key == "layers"


@given(st.integers(1, 40).flatmap(lambda depth: st.tuples(st.just(depth), st.sets(st.integers(1, depth), min_size=1))))
def test_counting_from_the_top_is_the_same(case):
    depth, levels = case
    from_top = [level - depth - 1 for level in levels]
    assert offered_levels(from_top, depth) == offered_levels(list(levels), depth) == tuple(sorted(levels))
