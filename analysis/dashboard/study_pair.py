"""Two variants: where they draw on other levels, are configured differently, and answer otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dash import html

from mtlab.analysis import asked, frame
from mtlab.analysis.dashboard import controls, parts, tables
from mtlab.analysis.dashboard.pane import Pane, Studied, kind_of, kind_switch
from mtlab.analysis.dashboard.parts import Column, Part
from mtlab.analysis.dashboard.study_layers import missing
from mtlab.analysis.gathered import Gathered
from mtlab.analysis.recorded import Layers
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.analysis.figures.disagreements import Table

LIMIT = 30  #: examples that are listed


def draw(studied: Studied) -> Pane:
    """Draw the difference between two variants."""
    from mtlab.analysis.figures.difference import difference
    from mtlab.analysis.figures.parts import of

    rows = {row["label"]: row for row in studied.plan["rows"]}
    if len(rows) < 2:
        return Pane([parts.empty("This study has one variant: there is nothing to set it against.")], whole=True)
    first, second = _chosen(studied, rows)
    kind, names = kind_of(studied.view), {label: label for label in rows}
    recorded = studied.look.data.layers(studied.plan)
    configs = {name: _config(studied, rows[name]) for name in (first, second)}
    made = difference(of(recorded.found, first), of(recorded.found, second), (first, second), kind)
    body: list[Part] = [
        studied.figure(made, "difference"),
        missing(_of(recorded, first, second).why),
        parts.section("Configured differently", _differences(configs, studied.command)),
        _disagreements(studied, rows[first], rows[second]),
    ]
    chosen = [
        controls.choice("first", "variant", names, first, default=""),
        controls.choice("second", "less", names, second, default=""),
        kind_switch(studied.view),
    ]
    return Pane(body, chosen, whole=True)


def _of(recorded: Gathered[Layers], *labels: str) -> Gathered[Layers]:
    """Take what was found, and what was not, of some variants."""
    found = {source: each for source, each in recorded.found.items() if source.label in labels}
    return Gathered(found, {source: each for source, each in recorded.missing.items() if source.label in labels})


def _chosen(studied: Studied, rows: Mapping[str, Any]) -> tuple[str, str]:
    """Take the two that the address names; else the baseline, or the first, and the last one that has results."""
    labels, done = list(rows), {run.cell for run in studied.card.runs if run.condition == "done"}
    baseline = next((label for label, row in rows.items() if row.get("baseline")), labels[0])
    second = studied.view.one("second", labels, baseline)
    others = [label for label in labels if label != second]
    finished = [label for label in others if rows[label]["cell"] in done]
    return studied.view.one("first", labels, (finished or others)[-1]), second


def _config(studied: Studied, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the configuration of the first run of a variant that has one."""
    for run in studied.plan["runs"]:
        config = studied.look.data.store.config(run["id"]) if run["cell"] == row["cell"] else None
        if config is not None:
            return tables.flat(config["config"])
    return None


def _differences(configs: Mapping[str, dict[str, Any] | None], command: str) -> Part:
    without = [name for name, config in configs.items() if config is None]
    if without:
        told = f"No run of {' and '.join(without)} has been made yet: its configuration is written when it starts."
        return parts.empty(told, parts.command(command))
    return tables.differences({name: config for name, config in configs.items() if config is not None})


def _disagreements(studied: Studied, first: Mapping[str, Any], second: Mapping[str, Any]) -> Part:
    from mtlab.analysis.figures.disagreements import disagreements

    data, split = studied.look.data, studied.plan["metrics"]["verdict"].partition("/")[0]
    cells, names = (first["cell"], second["cell"]), (first["label"], second["label"])
    part = {**studied.plan, "runs": [run for run in studied.plan["runs"] if run["cell"] in cells]}
    title = "Where they answer otherwise"
    try:
        outcomes = frame.examples(data.store, part, split=split)
    except UserError as error:
        return parts.section(title, parts.trouble(str(error)))
    run = next((run["id"] for run in part["runs"]), "")
    world = data.world(run)
    found = disagreements(outcomes, cells, names, asked.answers(world), asked.texts(world, split), LIMIT)
    if not found.rows:
        return parts.section(title, parts.empty(found.caption))
    return parts.section(title, _listed(found), about=found.caption)


def _listed(found: Table) -> Part:
    rows = found.rows
    columns = [
        Column("example", [html.Code(row.id) for row in rows], heads=True),
        Column("asked", [row.text or "" for row in rows]),
        Column("family", [row.family for row in rows]),
        Column("right", [row.truth or "" for row in rows]),
        *(
            Column(f"{name} says", [_said(says, score) for says, score in answers])
            for name, answers in (
                (found.names[0], [(row.first_says, row.first) for row in rows]),
                (found.names[1], [(row.second_says, row.second) for row in rows]),
            )
        ),
    ]
    return parts.table([column for column in columns if column.says], "Examples on which the two differ most")


def _said(says: str | None, score: float) -> str:
    share = f"right with {100 * score:.0f} % of seeds"
    return f"{says} ({share})" if says else share
