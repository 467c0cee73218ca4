"""Two variants: where they draw on other levels, are configured differently, and answer otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import html

from mtlab.dashboard import controls, parts, tables
from mtlab.dashboard.pane import Pane, Studied, kind_of, kind_switch
from mtlab.dashboard.parts import Column, Part
from mtlab.dashboard.study.layers import missing
from mtlab.errors import UserError
from mtlab.recording import examples
from mtlab.recording.reader import Layers, Missing
from mtlab.report import frame
from mtlab.report.gathered import Gathered

if TYPE_CHECKING:
    from mtlab.data.base import Dataset
    from mtlab.report.figures.disagreements import Table

LIMIT = 30  #: examples that are listed
THUMB = 96  #: pixels of the longer side of their pictures


def draw(studied: Studied) -> Pane:
    """Draw the difference between two variants."""
    from mtlab.report.figures.layers.difference import difference
    from mtlab.report.figures.parts import of

    rows = {row["label"]: row for row in studied.plan["rows"]}
    if len(rows) < 2:
        return Pane([parts.empty("This study has one variant: there is nothing to set it against.")], whole=True)
    first = studied.view.one("first", rows, _first(studied, rows))
    second = studied.view.one("second", rows, _second(rows, first))
    kind, names = kind_of(studied.view), {label: label for label in rows}
    recorded = studied.look.data.layers(studied.plan)
    configs = {name: _config(studied, rows[name]) for name in (first, second)}
    made = difference(of(recorded.found, first), of(recorded.found, second), (first, second), kind)
    body: list[Part] = [
        studied.figure(made, "difference"),
        missing(_of(recorded, first, second).why),
        parts.section("Configured differently", _differences(configs, studied.card.command)),
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


def _first(studied: Studied, rows: Mapping[str, Any]) -> str:
    """Take the last variant that is compared with another, one with results if there is any."""
    done = {run.cell for run in studied.card.runs if run.condition == "done"}
    compared = [label for label, row in rows.items() if row.get("compare_to")] or list(rows)
    return ([label for label in compared if rows[label]["cell"] in done] or compared)[-1]


def _second(rows: Mapping[str, Any], first: str) -> str:
    """Take the variant that the first is compared with, else any other."""
    against = [label for label, row in rows.items() if row["cell"] == rows[first].get("compare_to")]
    return [*against, *(label for label in rows if label != first)][0]


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
    from mtlab.report.figures.disagreements import disagreements

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
    found = disagreements(outcomes, cells, names, examples.answers(world), examples.texts(world, split), LIMIT)
    if not found.rows:
        return parts.section(title, parts.empty(found.caption))
    return parts.section(title, _listed(found, world), about=found.caption)


def _listed(found: Table, world: Dataset | Missing) -> Part:
    rows = found.rows
    columns = [
        Column("picture", [_thumb(world, row.image) for row in rows]),
        Column("example", [html.Code(row.id) for row in rows], heads=True),
        Column("asked", [row.text or "" for row in rows]),
        Column("family", [row.family for row in rows]),
        Column("right", [row.truth or "" for row in rows]),
        *(
            Column(f"{name} says", [_said(says, score, seeds) for says, score in answers])
            for name, seeds, answers in (
                (found.names[0], found.seeds[0], [(row.first_says, row.first) for row in rows]),
                (found.names[1], found.seeds[1], [(row.second_says, row.second) for row in rows]),
            )
        ),
    ]
    return parts.table([column for column in columns if column.says], "Examples on which the two differ most")


def _said(says: str | None, score: float, seeds: int) -> Part:
    right = score * seeds
    told = f"{right:.0f} of {seeds} right" if abs(right - round(right)) < 1e-6 else f"{100 * score:.0f} % right"
    return [html.Span(f"{says} " if says else ""), html.Span(told, className="quiet")]


def _thumb(world: Dataset | Missing, key: str | None) -> Part:
    from PIL import Image

    from mtlab.report.figures.layers.words_and_patches import data_uri

    found = examples.picture(world, key) if key is not None else Missing("")
    if isinstance(found, Missing):
        return None
    image = Image.fromarray(found)
    image.thumbnail((THUMB, THUMB))
    return html.Img(src=data_uri(np.asarray(image)), alt="", className="thumb")
