"""Showing a text with another's picture: half of them, never its own, the same for one seed."""

import pytest

from mtlab.data.matching import draw_negatives


@pytest.mark.parametrize("rows", [2, 3, 8, 101])
def test_half_of_the_rows_keep_their_picture_and_no_other_gets_its_own(rows: int) -> None:
    images = [f"i{row // 2}" if rows > 3 else f"i{row}" for row in range(rows)]
    for seed in range(50):
        found = draw_negatives(images, seed)
        assert found.count(None) == rows // 2
        assert all(other is None or images[other] != images[row] for row, other in enumerate(found))
        assert found == draw_negatives(images, seed)
    assert len({tuple(draw_negatives(images, seed)) for seed in range(20)}) > 1


def test_where_there_is_one_picture_alone_all_keep_it() -> None:
    assert draw_negatives(["i", "i", "i"], 0) == [None] * 3


def test_every_other_picture_comes_up() -> None:
    images = [f"i{row}" for row in range(5)]
    others = {other for seed in range(200) for other in [draw_negatives(images, seed)[0]]}
    assert others == {None, 1, 2, 3, 4}
