"""The published comparisons with three cross-modal layers at a glance, from the tables of `mtlab report`.

`python tools/forest.py` prints managers of all levels less the bridge on the best levels that were found, and the means
over draws of pictures. `--picture FILE` draws these differences, `--levels FILE` what one level, a bridge and managers
have in each comparison, `--settings FILE` the same rows at each rate and width (all need the extra `images`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go
from findings import read_table
from plotly.subplots import make_subplots

from mtlab.report.figures import theme
from mtlab.report.figures.render import write_figures
from mtlab.statistics.intervals import mean_interval

MANAGERS = ("static", "adaptive")
#: of the same rows in all pictures
STYLES = theme.assign_styles(("one level", "mean", "bridge", "static", "adaptive"))


class Comparison(NamedTuple):
    """Where managers were compared with a bridge."""

    where: str
    name: str  #: of its tables
    bridge: str  #: label of its row
    manager: str = "{}"  #: label of a manager's row


SEARCHED = (
    Comparison("CNN, draw 2", "judge_cnn_levels", "bridge 1 3 4"),
    Comparison("CNN, draw 3", "bridge_or_sum", "bridge 1 3 4"),
    Comparison("CNN, draw 4", "depth", "bridge 1 3 4 · cross_layers 3", "{} · cross_layers 3"),
    Comparison("CNN, draw 5", "sweep_managers_all", "bridge"),
    Comparison("CNN, draw 14", "sweep_cnn_rates", "bridge"),
)  #: bridges on levels that were searched on draw 2; on draw 4 the better of two
UNTUNED = Comparison("CNN, draw 21", "robustness", "bridge · rate 5e-3", "{} · rate 5e-3")  #: at the presets' rate
BY_HAND = (
    Comparison("CNN, draw 0", "sweep_managers", "bridge"),
    Comparison("CNN, draw 1", "sweep_managers_all_first", "bridge"),
    Comparison("CNN, draw 2", "judge_cnn", "bridge"),
    Comparison("CNN, draw 5", "sweep_managers_all", "bridge 1 3 5"),
    Comparison("CNN, draw 14", "sweep_cnn_rates", "bridge 1 3 5"),
)
VIT = (
    Comparison("ViT, draw 2", "judge_vit", "bridge, own maps", "{}, own maps"),
    Comparison("ViT, draw 7", "sweep_mechanisms_vit", "bridge"),
    Comparison("ViT, draw 11", "vit_until_decided", "bridge"),
)
CHOSEN = Comparison(
    "ViT, draw 0", "sweep_managers_vit", "bridge, own maps", "{}, own maps"
)  #: on whose pictures levels 2, 6, 8 were chosen; adaptive with own maps did not run there
GROUPS = {
    "bridge 1 3 4": SEARCHED,
    "bridge 1 3 4, at one rate": (UNTUNED,),
    "bridge 1 3 5, by hand": BY_HAND,
    "bridge 2 6 8, by hand": VIT,
}
#: draw → its table, and the rows of adaptive and static, three cross-modal layers each
ADAPTING = {
    "draw 0": ("sweep_managers", "adaptive", "static"),
    "draw 1": ("sweep_managers_all_first", "adaptive", "static"),
    "draw 2": ("judge_cnn_levels", "adaptive", "static"),
    "draw 3": ("bridge_or_sum", "adaptive", "static"),
    "draw 4": ("depth", "adaptive · cross_layers 3", "static · cross_layers 3"),
    "draw 5": ("sweep_managers_all", "adaptive", "static"),
    "draw 9": ("queries", "fused query", "no query (static)"),
    "draw 14": ("sweep_cnn_rates", "adaptive", "static"),
}
LOWER_RATE = {"draw 9": ("queries_rate", "fused query", "no query (static)")}  #: at 2.5e-3 in place of 5e-3
#: draw → its table, and the rows of mean and static, three cross-modal layers each
MIXING = {
    "draw 0": ("sweep_managers", "mean", "static"),
    "draw 1": ("sweep_managers_all_first", "mean", "static"),
    "draw 5": ("sweep_managers_all", "mean", "static"),
    "draw 14": ("sweep_cnn_rates", "mean", "static"),
    "draw 21": ("robustness", "mean · rate 5e-3", "static · rate 5e-3"),
}
#: comparison → its table, and the rows of one level, where it enters the first layer and each, bridge, static, adaptive
LEVELS = {
    "CNN, draw 0<br>bridge 1 3 5": ("sweep_managers", "image level 3", "", "bridge", "static", "adaptive"),
    "CNN, draw 1<br>bridge 1 3 5": (
        "sweep_managers_all_first",
        "image level 3",
        "image level 3 in each layer",
        "bridge",
        "static",
        "adaptive",
    ),
    "CNN, draw 2<br>bridge 1 3 4": ("judge_cnn_levels", "image level 3", "", "bridge 1 3 4", "static", "adaptive"),
    "CNN, draw 3<br>bridge 1 3 4": ("bridge_or_sum", "image level 3", "", "bridge 1 3 4", "static", "adaptive"),
    "CNN, draw 5<br>bridge 1 3 4": (
        "sweep_managers_all",
        "image level 3",
        "image level 3 in each layer",
        "bridge",
        "static",
        "adaptive",
    ),
    "CNN, draw 17<br>bridge 1 3 4, longer": (
        "levels_longer",
        "image level 3",
        "image level 3 in each layer",
        "bridge 1 3 4",
        "static",
        "adaptive",
    ),
    "CNN, draw 21<br>bridge 1 3 4, one rate": (
        "robustness",
        "image level 3 · rate 5e-3",
        "",
        "bridge · rate 5e-3",
        "static · rate 5e-3",
        "adaptive · rate 5e-3",
    ),
    "ViT, draw 2<br>bridge 2 6 8": (
        "judge_vit",
        "",  # taken back: initial weights of that time held it back
        "",
        "bridge, own maps",
        "static, own maps",
        "adaptive, own maps",
    ),
    "ViT, draw 7<br>bridge 2 6 8": (
        "sweep_mechanisms_vit",
        "",
        "image level 6 in each layer",
        "bridge",
        "static",
        "adaptive",
    ),
    "CNN, easy shapes<br>bridge 3 4 5": ("sweep_managers_shapes", "image level 4", "", "bridge", "static", "adaptive"),
    "CNN, medium shapes<br>bridge 3 4 5": ("sweep_shapes_medium", "image level 4", "", "bridge", "static", "adaptive"),
    "CNN, medium shapes, own batches<br>bridge 3 4 5": (
        "shapes_medium_batches",
        "image level 4",
        "",
        "bridge",
        "static",
        "adaptive",
    ),
    "CNN, hard shapes<br>bridge 3 4 5": ("shapes_hard", "image level 4", "", "bridge", "static", ""),
    "ViT, hard shapes<br>bridge 4 8 12": ("shapes_hard_vit", "image level 8", "", "bridge 4 8 12", "static", ""),
}
ADAPTIVE = ("adaptive", "static")
SETTINGS = ("rate 2.5e-3", "rate 5e-3", "rate 1e-2", "width 128, rate 2.5e-3", "width 128, rate 5e-3")
AT_SETTINGS = {
    "bridge": STYLES["bridge"],
    "mean": STYLES["mean"],
    "static": STYLES["static"],
    "adaptive": STYLES["adaptive"],
    "image level 3": STYLES["one level"],
}
ROWS = {
    "one level, first layer": STYLES["one level"],
    "one level, each layer": replace(STYLES["one level"], symbol="square-open"),
    "bridge on three levels": STYLES["bridge"],
    "static, all": STYLES["static"],
    "adaptive, all": STYLES["adaptive"],
}


class Difference(NamedTuple):
    """A manager less a bridge, in points, with its 95 % interval."""

    mean: float
    low: float
    high: float
    over_questions: bool = False  #: the interval has the variance over test questions, too

    def __str__(self) -> str:
        return f"{self.mean:+.1f} ({self.low:+.1f} to {self.high:+.1f})".replace("-", "−")


def difference(at: Comparison, manager: str) -> Difference:
    """Read it from the report, or make it over seeds from the runs where the report has other pairs."""
    rows = {row["label"]: row for row in read_table(at.name, "report")}
    label, bridge = at.manager.format(manager), rows[at.bridge]
    for row, sign, other in ((rows[label], 1, at.bridge), (bridge, -1, label)):
        if row["compare_to"] == other:
            low, high = sorted(100 * sign * float(row[f"difference_{end}"]) for end in ("low", "high"))
            return Difference(100 * sign * float(row["difference"]), low, high, over_questions=True)
    return _over_seeds(at.name, label, at.bridge)


def over(values: Iterable[float]) -> Difference:
    """Take the mean of some values and its 95 % interval by t."""
    found = mean_interval(list(values))
    assert found.interval is not None, "of several values"
    return Difference(found.mean, *found.interval)


def _over_seeds(name: str, one: str, other: str, column: str = "test/accuracy") -> Difference:
    ours, theirs = _seeds(name, one, column), _seeds(name, other, column)
    return over([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])


def _seeds(name: str, label: str, column: str) -> dict[str, float]:
    runs = (run for run in read_table(name, "runs") if run["label"] == label)
    return {run["seed"]: 100 * float(run[column]) for run in runs}


def table() -> Iterator[str]:
    """Write all differences, and their means over the draws of a group."""
    for group, places in GROUPS.items():
        for manager in MANAGERS:
            found = {at.where: difference(at, manager) for at in places}
            yield from (f"{manager} less {group}, {where}: {each}" for where, each in found.items())
            if len(found) > 2:
                yield f"{manager} less {group}, {len(found)} draws: {over(each.mean for each in found.values())}"
            if "CNN, draw 2" in found:  # on which levels 1, 3, 4 were chosen
                rest = over(each.mean for where, each in found.items() if where != "CNN, draw 2")
                yield f"{manager} less {group}, without draw 2: {rest}"
            further = {"draw 21 at 5e-3": UNTUNED} if places is SEARCHED else {}
            further |= {"draw 0": CHOSEN} if places is VIT and manager == "static" else {}
            for where, at in further.items():
                more = over(each.mean for each in (*found.values(), difference(at, manager)))
                yield f"{manager} less {group}, with {where}: {more}"
    yield from _adapting()
    yield from _mixing()


def _adapting() -> Iterator[str]:
    """Write `adaptive` less `static`: by draw, and means over draws at either rate of those that ran at two."""
    pair = "adaptive less static"
    higher = {draw: _over_seeds(*rows) for draw, rows in ADAPTING.items()}
    lower = higher | {draw: _over_seeds(*rows) for draw, rows in LOWER_RATE.items()}
    untuned = {setting: _over_seeds("robustness", *(f"{row} · {setting}" for row in ADAPTIVE)) for setting in SETTINGS}
    yield from (f"{pair}, {draw}, over seeds: {each}" for draw, each in higher.items())
    yield from (f"{pair}, {draw} at 2.5e-3, over seeds: {lower[draw]}" for draw in LOWER_RATE)
    yield from (f"{pair}, draw 21, {setting}, over seeds: {each}" for setting, each in untuned.items())
    for rate, found in (("5e-3", higher), ("2.5e-3", lower)):
        where = f"draw 9 at {rate}"
        yield f"{pair}, {len(found)} draws, {where}: {over(each.mean for each in found.values())}"
        more = over(each.mean for each in (*found.values(), untuned[f"rate {rate}"]))
        yield f"{pair}, {len(found) + 1} draws, {where} and draw 21: {more}"


def _mixing() -> Iterator[str]:
    """Write `mean` less `static`: by draw, their mean, and at each setting of draw 21 how fast they learn."""
    pair = "mean less static"
    found = {draw: _over_seeds(*rows) for draw, rows in MIXING.items()}
    yield from (f"{pair}, {draw}, over seeds: {each}" for draw, each in found.items())
    yield f"{pair}, {len(found)} draws: {over(each.mean for each in found.values())}"
    for setting in SETTINGS:
        rows = (f"mean · {setting}", f"static · {setting}")
        yield f"{pair}, draw 21, {setting}, over seeds: {_over_seeds('robustness', *rows)}"
        yield f"{pair}, draw 21, {setting}, area, over seeds: {_over_seeds('robustness', *rows, 'area')}"


def picture() -> go.Figure:
    """Draw all differences, group by group."""
    places = [(f"{at.where}<br>{group}", at) for group, all_of_it in GROUPS.items() for at in all_of_it]
    ticks = [len(places) - place for place in range(len(places))]
    figure = go.Figure()
    for shift, manager in zip((0.14, -0.14), MANAGERS, strict=True):
        style = STYLES[manager]
        found = [difference(at, manager) for _, at in places]
        figure.add_scatter(
            x=[each.mean for each in found],
            y=[tick + shift for tick in ticks],
            error_x={
                "symmetric": False,
                "array": [each.high - each.mean for each in found],
                "arrayminus": [each.mean - each.low for each in found],
                "color": style.colour,
            },
            mode="markers",
            marker={
                "color": ["white" if not each.over_questions else style.colour for each in found],
                "symbol": style.symbol,
                "size": 8,
                "line": {"color": style.colour, "width": 2},
            },
            name=manager,
        )
    figure.add_vline(x=0, line={"color": theme.NEUTRAL, "width": 1})
    figure.update_xaxes(title="test accuracy minus the bridge's, points")
    figure.update_yaxes(tickvals=ticks, ticktext=[label for label, _ in places])
    caption = (
        "95% intervals, not corrected, over seeds and test questions; hollow: over seeds alone. Each draw has other "
        "pictures."
    )
    return theme.finish(figure, "Managers of all levels, and a bridge on three", caption, height=130 + 46 * len(places))


def levels_picture() -> go.Figure:
    """Draw what one level, a bridge and two managers have in each comparison."""
    reports = {table: {row["label"]: row for row in read_table(table, "report")} for table, *_ in LEVELS.values()}
    figure = go.Figure()
    for number, (name, style) in enumerate(ROWS.items()):
        found = [
            (len(LEVELS) - place + 0.3 - 0.15 * number, reports[table][rows[number]])
            for place, (table, *rows) in enumerate(LEVELS.values())
            if rows[number]
        ]
        figure.add_scatter(
            x=[100 * float(row["mean"]) for _, row in found],
            y=[height for height, _ in found],
            error_x={
                "symmetric": False,
                "array": [100 * (float(row["high"]) - float(row["mean"])) for _, row in found],
                "arrayminus": [100 * (float(row["mean"]) - float(row["low"])) for _, row in found],
            },
            mode="markers",
            marker={"color": style.colour, "symbol": style.symbol, "size": 8},
            name=name,
        )
    figure.update_xaxes(title="test accuracy, points")
    figure.update_yaxes(tickvals=[len(LEVELS) - place for place in range(len(LEVELS))], ticktext=list(LEVELS))
    caption = (
        "Means over seeds, 95% intervals. One level: the best on validation data, of draw 7 and hard shapes on "
        "those of another draw; on draws 17 and 21 the only one tried. Each draw has other pictures."
    )
    return theme.finish(figure, "One level of the tower, three, or all", caption, height=130 + 52 * len(LEVELS))


def settings_picture() -> go.Figure:
    """Draw each row at each rate and width, and below it how far managers are from the bridge of the same setting."""
    report = {row["label"]: row for row in read_table("robustness", "report")}
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for number, (name, style) in enumerate(AT_SETTINGS.items()):
        rows = [report[f"{name} · {setting}"] for setting in SETTINGS]
        places = [place + 0.14 * (number - 2) for place in range(len(SETTINGS))]
        parts = {1: ("mean", "low", "high")}
        if name in ("mean", *MANAGERS):
            parts[2] = ("difference", "difference_low", "difference_high")
        for panel, columns in parts.items():
            found = [[100 * float(row[column]) for column in columns] for row in rows]
            figure.add_scatter(
                x=places,
                y=[middle for middle, _, _ in found],
                error_y={
                    "symmetric": False,
                    "array": [high - middle for middle, _, high in found],
                    "arrayminus": [middle - low for middle, low, _ in found],
                    "color": style.colour,
                },
                mode="markers",
                marker={"color": style.colour, "symbol": style.symbol, "size": 8},
                name=name,
                showlegend=panel == 1,
                row=panel,
                col=1,
            )
    figure.add_hline(y=0, line={"color": theme.NEUTRAL, "width": 1}, row=2, col=1)
    figure.update_yaxes(title="test accuracy, points", row=1, col=1)
    figure.update_yaxes(title="minus the bridge's, points", row=2, col=1)
    labels = [setting.replace(", ", "<br>") for setting in SETTINGS]
    figure.update_xaxes(tickvals=list(range(len(SETTINGS))), ticktext=labels)
    caption = (
        "Means and 95% intervals, not corrected: above over four seeds, below over seeds and test questions. Below: "
        "managers alone, none of them shown to differ after Holm for 20. At 1e-2 level 3 has learned stripes alone."
    )
    return theme.finish(figure, "The same rows at other rates, and twice as wide", caption, height=640)


def main() -> None:
    """Print the table, and draw the pictures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--levels", type=Path)
    parser.add_argument("--settings", type=Path)
    arguments = parser.parse_args()
    print("\n".join(table()))
    drawn = {arguments.picture: picture, arguments.levels: levels_picture, arguments.settings: settings_picture}
    write_figures({file: draw() for file, draw in drawn.items() if file is not None})


if __name__ == "__main__":
    main()
