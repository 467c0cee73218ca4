"""How each variant's search came along: the best value so far, over the trials of equal budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from mtlab.report.figures import parts, theme
from mtlab.report.figures.search import search_parts as searching
from mtlab.report.figures.theme import Style, see_through
from mtlab.sweeps.stored import StoredSearch


def progress(searches: Sequence[StoredSearch], styles: Mapping[str, Style] | None = None) -> go.Figure:
    """Draw the best value so far of each variant, and its trials as points: crosses were stopped early."""
    metric = searching.metric(searches)
    title = f"Best so far: {metric}"
    if not any(searching.done(found) for found in searches):
        return theme.empty(title, searching.NONE_YET)
    scale, best_of = searching.scale(metric), max if searches[0].objectives[0].mode == "max" else min
    figure = parts.panels([""], [""], x="trial", y=searching.axis(metric))
    for rank, found in enumerate(searches):
        style, best, line = searching.styled(searches, styles, found.label), None, []
        finished = {each.number: each.values[0] for each in searching.done(found)}
        for number in range(len(found.trials)):
            if number in finished:
                best = finished[number] if best is None else best_of(best, finished[number])
            line.append(None if best is None else scale * best)
        figure.add_trace(
            go.Scatter(
                x=list(range(len(line))),
                y=line,
                mode="lines",
                line={"color": style.colour, "dash": style.dash, "width": 2, "shape": "hv"},
                name=theme.plain(found.label),
                legendgroup=found.label,
                legendrank=1000 + rank,
                hovertemplate="%{fullData.name}: best of the first trials %{y:.4g}<extra></extra>",
            )
        )
        for trials, symbol in (
            (searching.done(found, allowed=False), style.symbol),
            (searching.pruned(found), "x-thin"),
        ):
            figure.add_trace(
                go.Scatter(
                    x=[each.number for each in trials],
                    y=[scale * each.values[0] for each in trials],
                    mode="markers",
                    marker={
                        "symbol": symbol,
                        "size": 7,
                        "color": see_through(style.colour, 0.45),
                        "line": {"color": style.colour, "width": 1.5 if symbol == "x-thin" else 0},
                    },
                    name=theme.plain(found.label),
                    legendgroup=found.label,
                    showlegend=False,
                    hovertemplate="%{fullData.name}, trial %{x}: %{y:.4g}<extra></extra>",
                )
            )
    caption = (
        f"Lines: the best value of all trials so far. Points: single trials; crosses were stopped early and stand at "
        f"their last value. {searching.counted(searches).capitalize()}. The best of many trials flatters: validation "
        "data chose it."
    ) + parts.uncrowded(figure, searching.labels(searches))
    return theme.finish(figure, title, caption, height=380)
