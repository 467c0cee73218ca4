"""Draws docs/results-testbeds.png: each mechanism less the bridge on each testbed, from analysis/results.

`python tools/testbeds_figure.py docs/results-testbeds.png`
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go

from mtlab.report.figures import dots, panels, theme
from mtlab.report.figures.render import write_figures

RESULTS = Path(__file__).parents[1] / "analysis/results"
TESTBEDS = {"sweep_managers_all": "CNN, layered", "sweep_mechanisms_vit": "ViT, layered"}  #: table → panel
FURTHEST = 6.5  #: points behind the bridge that are drawn in place; what is further stands at the edge, as a number
COLOURS = {"better": "#1a7f4b", "worse": "#b3261e", "undecided": "#5f6b7a", "not learned": "#9a6700"}
Rows = Mapping[str, Mapping[str, str]]


def read(name: str) -> Rows:
    """Return label → row of a report; the single level fed to each layer has one label on all testbeds."""
    with (RESULTS / f"{name}_report.csv").open(newline="") as file:
        rows = {row["label"]: row for row in csv.DictReader(file)}
    return {"best single level, each layer" if "in each layer" in label else label: row for label, row in rows.items()}


def draw() -> go.Figure:
    """Draw a panel for each testbed, with the mechanisms that all of them have, best on the first one at the top."""
    tables = [read(name) for name in TESTBEDS]
    shared = [label for label in tables[0] if all(label in table for table in tables)]
    shared = [label for label in shared if tables[0][label]["difference"]]
    shared.sort(key=lambda label: -float(tables[0][label]["difference"]))
    titles = [
        f"{name}, {next(iter(table.values()))['n']} seeds"
        for name, table in zip(TESTBEDS.values(), tables, strict=True)
    ]
    figure = panels.make_panels([""], titles, shared_y=True)
    for column, table in enumerate(tables, start=1):
        for place, label in enumerate(shared):
            figure.add_traces(_dot(label, place, table[label]), rows=1, cols=column)
        figure.add_vline(x=0, line_width=1, line_dash="dot", row=1, col=column)
        figure.update_xaxes(range=[-FURTHEST - 0.7, 2.2], title="points", row=1, col=column)
    dots.label_lines(figure, shared)
    caption = (
        "Accuracy on test data less that of a bridge on well-chosen levels, on the same seeds, with its 95% interval "
        "(not corrected). Filled: a difference is shown after Holm's correction; hollow: none is shown. Numbers at the "
        "edge lie further left; ✗: a seed has not learned."
    )
    return theme.finish(figure, "Mechanisms less the bridge", caption, height=150 + dots.LINE_HEIGHT * len(shared))


def _dot(label: str, place: int, row: Mapping[str, str]) -> go.Scatter:
    gap, low, high = (100 * float(row[f"difference{end}"]) for end in ("", "_low", "_high"))
    failed = int(row["not_learned"]) > 0 or row["outcome"] == "not learned"
    style = theme.Style(COLOURS["not learned" if failed else row["outcome"]])
    text = f"{label}: {gap:+.1f}"
    if gap < -FURTHEST:
        mark = " ✗" if failed else ""
        return go.Scatter(
            x=[-FURTHEST - 0.6],
            y=[place],
            mode="text",
            text=[f"◂ {gap:.1f}{mark}".replace("-", "−")],
            textposition="middle right",
            textfont={"color": style.colour},
            name=theme.escape_markup(label),
        )
    filled = row["outcome"] in ("better", "worse")
    return dots.mean_dot(label, place, gap, (low, high), style, text, filled=filled)


if __name__ == "__main__":
    write_figures({Path(sys.argv[1]): draw()})
