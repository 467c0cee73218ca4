"""The tab `Two variants`: differences in the levels that they draw on, in their settings, and in their answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import html
from PIL import Image

from mtlab.config.load import flatten
from mtlab.dashboard import components, controls, report_tables
from mtlab.dashboard.components import Component, TableColumn
from mtlab.dashboard.page import StudyRequest, StudyTab
from mtlab.dashboard.study.layers_tabs import missing_note
from mtlab.errors import UserError
from mtlab.recording import run_dataset
from mtlab.recording.reader import Missing
from mtlab.report import frame
from mtlab.report.figures.disagreements import DisagreementTable, find_disagreements, shared_examples
from mtlab.report.figures.layers.difference import plot_difference
from mtlab.report.figures.panels import runs_of
from mtlab.report.page.token_page import image_uri

if TYPE_CHECKING:
    from mtlab.data.base import Dataset

PAGE_SIZE = 25  #: examples on a page
DIRECTIONS = ("", "first", "second")  #: which of the two is right more often
THUMBNAIL = 96  #: pixels of the longer side


def draw_pair_tab(request: StudyRequest) -> StudyTab:
    """Draw the differences between two variants."""
    rows = {row["label"]: row for row in request.plan["rows"]}
    if len(rows) < 2:
        message = "This study has one variant: there is nothing to set it against."
        return StudyTab([components.empty_notice(message)], whole_study=True)
    first = request.address.one("first", rows, _default_first(request, rows))
    second = request.address.one("second", rows, _default_second(rows, first))
    recorded = request.data.layers(request.plan)
    sides = runs_of(recorded.found, first), runs_of(recorded.found, second)
    disagreements, filters = _disagreements(request, rows[first], rows[second])
    body: list[Component] = [
        request.figure(plot_difference(*sides, (first, second), request.kind), "difference"),
        missing_note(recorded.of_variants(first, second).why),
        components.section(
            "Configured differently", _settings(request, {name: rows[name] for name in (first, second)})
        ),
        disagreements,
    ]
    names = {label: label for label in rows}
    bar: list[Component] = [
        controls.dropdown("first", "variant", names, first, default=""),
        controls.dropdown("second", "less", names, second, default=""),
        request.kind_switch(),
        *filters,
    ]
    return StudyTab(body, bar, whole_study=True)


def _default_first(request: StudyRequest, rows: Mapping[str, Any]) -> str:
    """Return the last variant that is compared with another, of which both have recorded layers if possible."""
    recorded = {run.cell for run in request.data.layers(request.plan).found}
    compared = [label for label, row in rows.items() if row["compare_to"]] or list(rows)
    both = [label for label in compared if {rows[label]["cell"], rows[label]["compare_to"]} <= recorded]
    done = [label for label in compared if rows[label]["cell"] in recorded]
    return (both or done or compared)[-1]


def _default_second(rows: Mapping[str, Any], first: str) -> str:
    """Return the variant that the first is compared with, else any other."""
    baselines = [label for label, row in rows.items() if row["cell"] == rows[first]["compare_to"]]
    return [*baselines, *(label for label in rows if label != first)][0]


def _settings(request: StudyRequest, rows: Mapping[str, Mapping[str, Any]]) -> Component:
    configs = {name: _flat_config(request, row["cell"]) for name, row in rows.items()}
    waiting = [name for name, config in configs.items() if config is None]
    if waiting:
        message = f"No run of {' and '.join(waiting)} has been made yet: its configuration is written when it starts."
        return components.empty_notice(message, components.command_line(request.summary.command))
    return report_tables.config_differences({name: config for name, config in configs.items() if config is not None})


def _flat_config(request: StudyRequest, cell: str) -> dict[str, Any] | None:
    """Return the configuration of the first run of a variant that has one."""
    for run in request.plan["runs"]:
        config = request.data.store.config(run["id"]) if run["cell"] == cell else None
        if config is not None:
            return flatten(config["config"])
    return None


def _disagreements(
    request: StudyRequest, first: Mapping[str, Any], second: Mapping[str, Any]
) -> tuple[Component, list[Component]]:
    """Draw a page of the examples that two variants answer differently, and the controls that filter them."""
    split = request.plan["metrics"]["verdict"].partition("/")[0]
    cells, names = (first["cell"], second["cell"]), (first["label"], second["label"])
    plan = {**request.plan, "runs": [run for run in request.plan["runs"] if run["cell"] in cells]}
    title = "Where they answer differently"
    try:
        outcomes = frame.outcome_frame(request.data.store, plan, split=split)
    except UserError as error:
        return components.section(title, components.error_notice(str(error))), []
    answers, texts = shared_examples(request.data.store, plan, cells, split)
    dataset = request.data.dataset(next((run["id"] for run in plan["runs"]), ""))
    address = request.address
    direction = address.one("right", DIRECTIONS, "")
    family, better = address.text("family"), {"first": 0, "second": 1}.get(direction)

    def find(page: int) -> DisagreementTable:
        return find_disagreements(
            outcomes,
            cells,
            names,
            answers,
            texts,
            family=family or None,
            better=better,
            start=(page - 1) * PAGE_SIZE,
            limit=PAGE_SIZE,
        )

    page = components.page_number(address)
    table = find(page)
    if not table.rows and page > 1:
        page, table = 1, find(1)
    if not table.families:
        return components.section(title, components.empty_notice(table.caption)), []
    families = {"": "all", **{name: name for name in table.families}}
    directions = dict(zip(DIRECTIONS, ("either", *names), strict=True))
    filters = [controls.dropdown("family", "family", families, family if family in families else "")]
    filters.append(controls.dropdown("right", "right more often", directions, direction))
    if not table.rows:
        return components.section(title, components.empty_notice("No such example.")), filters
    links = components.page_links(address, page, -(-table.differing // PAGE_SIZE), "Pages of examples")
    shown = components.quiet_text(f"{table.differing} examples") if links is None else links
    return components.section(title, shown, _example_table(table, dataset), about=table.caption), filters


def _example_table(table: DisagreementTable, dataset: Dataset | Missing) -> Component:
    rows, (first, second), seeds = table.rows, table.names, table.seeds
    columns = [
        TableColumn("example", [html.Code(row.id) for row in rows], heads=True),
        TableColumn("image", [_thumbnail(dataset, row.image) for row in rows]),
        TableColumn("asked", [row.text or "" for row in rows]),
        TableColumn("family", [row.family for row in rows]),
        TableColumn("right answer", [row.truth or "" for row in rows]),
        TableColumn(f"{first} says", [_answer(row.first_says, row.first, seeds[0]) for row in rows]),
        TableColumn(f"{second} says", [_answer(row.second_says, row.second, seeds[1]) for row in rows]),
    ]
    shown = [column for column in columns if column.filled]
    return components.data_table(shown, "Examples on which the two differ most")


def _answer(answer: str | None, score: float, seeds: int) -> Component:
    right = score * seeds
    whole = abs(right - round(right)) < 1e-6
    text = f"{right:.0f} of {seeds} right" if whole else f"{100 * score:.0f} % right"
    return [html.Span(f"{answer} " if answer else ""), html.Span(text, className="quiet")]


def _thumbnail(dataset: Dataset | Missing, key: str | None) -> Component:
    pixels = run_dataset.load_image(dataset, key) if key is not None else Missing("")
    if isinstance(pixels, Missing):
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return html.Img(src=image_uri(np.asarray(image)), alt="", className="thumb")
