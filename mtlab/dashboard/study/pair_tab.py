"""Two variants: where they draw on other levels, are configured differently, and answer otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import html

from mtlab.dashboard import components, controls, tables
from mtlab.dashboard.components import Component, TableColumn
from mtlab.dashboard.pane import StudyRequest, StudyTab, chosen_kind, kind_switch
from mtlab.dashboard.study.layers_tab import missing
from mtlab.errors import UserError
from mtlab.recording import run_dataset
from mtlab.recording.reader import Layers, Missing
from mtlab.report import frame
from mtlab.report.recordings import RunRecordings

if TYPE_CHECKING:
    from mtlab.data.base import Dataset
    from mtlab.report.figures.disagreements import DisagreementTable

LIMIT = 30  #: examples that are listed
THUMB = 96  #: pixels of the longer side of their pictures


def draw_pair_tab(studied: StudyRequest) -> StudyTab:
    """Draw the difference between two variants."""
    from mtlab.report.figures.layers.difference import plot_difference
    from mtlab.report.figures.panels import runs_of

    rows = {row["label"]: row for row in studied.plan["rows"]}
    if len(rows) < 2:
        return StudyTab(
            [components.empty_notice("This study has one variant: there is nothing to set it against.")], whole=True
        )
    first = studied.view.one("first", rows, _first(studied, rows))
    second = studied.view.one("second", rows, _second(rows, first))
    kind, names = chosen_kind(studied.view), {label: label for label in rows}
    recorded = studied.look.data.layers(studied.plan)
    configs = {name: _config(studied, rows[name]) for name in (first, second)}
    made = plot_difference(runs_of(recorded.found, first), runs_of(recorded.found, second), (first, second), kind)
    body: list[Component] = [
        studied.figure(made, "difference"),
        missing(_of(recorded, first, second).why),
        components.section("Configured differently", _differences(configs, studied.card.command)),
        _disagreements(studied, rows[first], rows[second]),
    ]
    chosen = [
        controls.dropdown("first", "variant", names, first, default=""),
        controls.dropdown("second", "less", names, second, default=""),
        kind_switch(studied.view),
    ]
    return StudyTab(body, chosen, whole=True)


def _of(recorded: RunRecordings[Layers], *labels: str) -> RunRecordings[Layers]:
    """Take what was found, and what was not, of some variants."""
    found = {source: each for source, each in recorded.found.items() if source.label in labels}
    return RunRecordings(found, {source: each for source, each in recorded.missing.items() if source.label in labels})


def _first(studied: StudyRequest, rows: Mapping[str, Any]) -> str:
    """Take the last variant that is compared with another, one with results if there is any."""
    done = {run.cell for run in studied.card.runs if run.condition == "done"}
    compared = [label for label, row in rows.items() if row.get("compare_to")] or list(rows)
    return ([label for label in compared if rows[label]["cell"] in done] or compared)[-1]


def _second(rows: Mapping[str, Any], first: str) -> str:
    """Take the variant that the first is compared with, else any other."""
    against = [label for label, row in rows.items() if row["cell"] == rows[first].get("compare_to")]
    return [*against, *(label for label in rows if label != first)][0]


def _config(studied: StudyRequest, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the configuration of the first run of a variant that has one."""
    for run in studied.plan["runs"]:
        config = studied.look.data.store.config(run["id"]) if run["cell"] == row["cell"] else None
        if config is not None:
            return tables.flat(config["config"])
    return None


def _differences(configs: Mapping[str, dict[str, Any] | None], command: str) -> Component:
    without = [name for name, config in configs.items() if config is None]
    if without:
        told = f"No run of {' and '.join(without)} has been made yet: its configuration is written when it starts."
        return components.empty_notice(told, components.command_line(command))
    return tables.config_differences({name: config for name, config in configs.items() if config is not None})


def _disagreements(studied: StudyRequest, first: Mapping[str, Any], second: Mapping[str, Any]) -> Component:
    from mtlab.report.figures.disagreements import find_disagreements

    data, split = studied.look.data, studied.plan["metrics"]["verdict"].partition("/")[0]
    cells, names = (first["cell"], second["cell"]), (first["label"], second["label"])
    part = {**studied.plan, "runs": [run for run in studied.plan["runs"] if run["cell"] in cells]}
    title = "Where they answer otherwise"
    try:
        outcomes = frame.examples(data.store, part, split=split)
    except UserError as error:
        return components.section(title, components.error_notice(str(error)))
    run = next((run["id"] for run in part["runs"]), "")
    world = data.world(run)
    found = find_disagreements(
        outcomes, cells, names, run_dataset.answer_names(world), run_dataset.example_texts(world, split), LIMIT
    )
    if not found.rows:
        return components.section(title, components.empty_notice(found.caption))
    return components.section(title, _listed(found, world), about=found.caption)


def _listed(found: DisagreementTable, world: Dataset | Missing) -> Component:
    rows = found.rows
    columns = [
        TableColumn("picture", [_thumb(world, row.image) for row in rows]),
        TableColumn("example", [html.Code(row.id) for row in rows], heads=True),
        TableColumn("asked", [row.text or "" for row in rows]),
        TableColumn("family", [row.family for row in rows]),
        TableColumn("right", [row.truth or "" for row in rows]),
        *(
            TableColumn(f"{name} says", [_said(says, score, seeds) for says, score in answers])
            for name, seeds, answers in (
                (found.names[0], found.seeds[0], [(row.first_says, row.first) for row in rows]),
                (found.names[1], found.seeds[1], [(row.second_says, row.second) for row in rows]),
            )
        ),
    ]
    return components.data_table([column for column in columns if column.says], "Examples on which the two differ most")


def _said(says: str | None, score: float, seeds: int) -> Component:
    right = score * seeds
    told = f"{right:.0f} of {seeds} right" if abs(right - round(right)) < 1e-6 else f"{100 * score:.0f} % right"
    return [html.Span(f"{says} " if says else ""), html.Span(told, className="quiet")]


def _thumb(world: Dataset | Missing, key: str | None) -> Component:
    from PIL import Image

    from mtlab.report.figures.layers.words_and_patches import image_uri

    found = run_dataset.load_image(world, key) if key is not None else Missing("")
    if isinstance(found, Missing):
        return None
    image = Image.fromarray(found)
    image.thumbnail((THUMB, THUMB))
    return html.Img(src=image_uri(np.asarray(image)), alt="", className="thumb")
