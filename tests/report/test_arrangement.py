"""Panels come below one another where there is no room beside one another, and none is lost."""

from __future__ import annotations

from itertools import combinations

import plotly.graph_objects as go
import pytest

from mtlab.report.figures import panels, theme
from mtlab.report.figures.arrangement import arrange, arrangements


def made(columns: int = 3, rows: tuple[str, ...] = ("text", "image")) -> go.Figure:
    figure = panels.make_panels(rows, [f"layer {n}" for n in range(1, columns + 1)], x="level", y="share")
    for row in range(1, len(rows) + 1):
        for column in range(1, columns + 1):
            figure.add_trace(go.Scatter(x=[1, 2], y=[row, column]), row=row, col=column)
    return theme.finish(figure, "Title", "Caption", 400)


def boxes(figure: go.Figure) -> list[tuple[float, float, float, float]]:
    axes = zip(figure.select_xaxes(), figure.select_yaxes(), strict=True)
    return [(*x.domain, *y.domain) for x, y in axes]


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


@pytest.mark.parametrize("width", [200, 400, 600, 2000])
@pytest.mark.parametrize("columns", [2, 3, 6])
def test_panels_never_overlap_and_stay_inside(width: int, columns: int) -> None:
    figure = arrange(made(columns), width)
    found = boxes(figure)
    assert len(found) == 2 * columns
    assert not any(overlap(*pair) for pair in combinations(found, 2))
    assert all(0 <= x0 < x1 <= 1.0001 and 0 <= y0 < y1 <= 1.0001 for x0, x1, y0, y1 in found)


def test_one_column_keeps_order_heights_titles_and_names() -> None:
    before, figure = made(), arrange(made(), 250)
    tops = [axis.domain[1] for axis in figure.select_yaxes()]  # row by row of the first arrangement
    order = sorted(range(6), key=lambda panel: -tops[panel])
    assert order == [0, 3, 1, 4, 2, 5]  # text and image of layer 1, of layer 2, of layer 3
    assert [note.text for note in figure.layout.annotations] == ["layer 1", "layer 2", "layer 3"]
    assert [axis.title.text for axis in figure.select_yaxes()] == ["text: share"] * 3 + ["image: share"] * 3
    assert all(axis.showticklabels for axis in figure.select_yaxes())
    assert [axis.title.text for axis in figure.select_xaxes()][3:] == ["", "", "level"]
    assert figure.layout.meta["height"] > 2.5 * before.layout.meta["height"]


def test_a_wide_figure_is_left_alone_and_one_panel_has_one_arrangement() -> None:
    figure = made()
    assert boxes(arrange(made(), 2000)) == boxes(figure)
    assert [each.columns for each in arrangements(made(6))] == [6, 3, 2, 1]
    widths = [each.width for each in arrangements(made(6))]
    assert widths == sorted(widths, reverse=True)
    assert len(arrangements(made(1, ("",)))) == 1


def test_other_annotations_stay_where_they_are() -> None:
    figure = made(2)
    figure.add_annotation(text="here", x=1, y=1, xref="x2", yref="y2")
    texts = [note.text for note in arrange(figure, 200).layout.annotations]
    assert sorted(texts) == ["here", "layer 1", "layer 2"]
