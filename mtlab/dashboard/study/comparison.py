"""The comparison: the table with its tests, the same as pictures, by family of questions, and cost against quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dash import html

from mtlab.dashboard import controls, parts, tables
from mtlab.dashboard.pane import Pane, Studied
from mtlab.dashboard.parts import Column, Part
from mtlab.dashboard.scope import Scope
from mtlab.errors import UserError
from mtlab.report.formats import captions, side_by_side

if TYPE_CHECKING:
    from mtlab.report.report import Report

COSTS = {
    "trained_params": "trained parameters",
    "flops": "FLOPs of an example",
    "training_flops": "FLOPs of the training",
    "seconds": "time",
    "memory_mib": "memory",
}
ORDERS = {"written": "as written", "result": "best first"}


def draw(studied: Studied) -> Pane:
    """Draw the comparison."""
    from mtlab.report.figures.by_family import by_family
    from mtlab.report.figures.comparison import comparison
    from mtlab.report.figures.cost import cost

    if studied.card.sweep:
        return Pane([_search(studied)])
    view, scope = studied.view, studied.scope
    order, axis = view.one("order", ORDERS, "written"), view.one("cost", COSTS, "trained_params")
    try:
        whole = studied.look.data.report(studied.card)
    except UserError as error:
        return Pane([parts.trouble(f"The comparison cannot be worked out: {error}")])
    places = ordered(whole, scope, best_first=order == "result")
    report = part(whole, [scope.kept[place] for place in places])
    told = html.P(captions.caption(whole), className="caption")
    body: list[Part] = [
        parts.section("Comparison", tables.comparison(report, places, scope), told, parts.notes(whole.notes))
    ]
    if any(row.mean is not None for row in report.rows):
        body.append(studied.figure(comparison(report, scope.variants), "comparison", caption=False))
        if report.families:
            body.append(studied.figure(by_family(report), "families"))
        body.append(studied.figure(cost(report, axis, scope.variants), "cost"))  # type: ignore[arg-type] # of `COSTS`
    else:
        body.append(_nothing(studied))
    switches = [controls.switch("order", "order", ORDERS, order), controls.choice("cost", "cost", COSTS, axis)]
    return Pane([*body, *_blocks(whole), *_published(whole)], switches)


def ordered(report: Report, scope: Scope, *, best_first: bool) -> list[int]:
    """Order the rows that are looked at: places in the scope's part of the plan.

    Groups stay together; those without a result come last.
    """
    groups = {label: place for place, label in enumerate(scope.labels)} if scope.group is not None else {}

    def key(place: int) -> tuple[int, float, int]:
        mean = report.rows[scope.kept[place]].mean
        rank = float("inf") if mean is None else -mean.mean if report.mode == "max" else mean.mean
        return groups.get(scope.name(scope.rows[place]), 0), rank if best_first else 0.0, place

    return sorted(range(len(scope.rows)), key=key)


def part(report: Report, places: Sequence[int]) -> Report:
    """Take some rows of a report, as they were judged among all."""
    families = {name: tuple(rows[place] for place in places) for name, rows in report.families.items()}
    return replace(report, rows=tuple(report.rows[place] for place in places), families=families)


def _search(studied: Studied) -> Part:
    name = studied.card.name
    return parts.empty(
        "This study searches: its trials are not compared with one another. What it has found for each variant:",
        parts.command(f"mtlab sweep report {name}"),
        html.P("How the search went, trial by trial:"),
        parts.command(f"mtlab sweep dashboard {name}"),
    )


def _nothing(studied: Studied) -> Part:
    return parts.empty(
        "No run of these variants is finished yet. The table fills as they finish; the curves show how far they are.",
        parts.command(studied.card.command),
    )


def _blocks(report: Report) -> list[Part]:
    view = report.side_by_side
    if view is None:
        return []
    told = html.P(side_by_side.caption(view), className="caption")
    return [
        parts.section(
            "Equal lengths side by side", tables.blocks(*side_by_side.grid(view), "Blocks side by side"), told
        )
    ]


def _published(report: Report) -> list[Part]:
    told = [html.P(line) for line in captions.published(report)]
    header, lines = captions.beside(report)
    if lines:
        columns = [
            Column(name, [line[place] for line in lines], heads=place == 0, numeric=place in (2, 3))
            for place, name in enumerate(header)
        ]
        told.append(parts.table(columns, "Published results beside ours"))
    return [parts.section("Published", *told, about=captions.PUBLISHED)] if told else []
