"""The page of a sweep: best trials, tuned variants on test data, progress of the searches, settings and spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtlab.report.comparison import verdict
from mtlab.report.figures import estimates, theme
from mtlab.report.figures.sweep import (
    best_so_far,
    importances,
    parallel_coordinates,
    pareto_front,
    slices,
    trial_curves,
)
from mtlab.report.figures.theme import Style
from mtlab.report.formats import captions, sweep_tables, tables
from mtlab.report.page.document import write_page
from mtlab.report.page.figure_group import FigureChoice, FigureGroup
from mtlab.report.page.html_writer import Content, Markup, element, html_table, plain_table
from mtlab.report.sweep_report import SweepReport
from mtlab.runs.store import Store
from mtlab.studies.axes import plain_label
from mtlab.sweeps.stored import StoredSearch


def sweep_page(store: Store, searches: Sequence[StoredSearch], report: SweepReport) -> str:
    """Write the page of a sweep, however far it is.

    Args:
        store: where its runs are.
        searches: see `mtlab.sweeps.stored`.
        report: built from them.

    """
    styles = theme.assign_styles(found.label for found in searches)
    sections: list[tuple[str, str, Content]] = [
        ("result", "What was found", [_results(report), _best_settings(searches, report)]),
        ("test", "Tuned against tuned", _final(report, styles)),
        ("search", "How the searches went", [each.to_html() for each in _search_figures(store, searches, styles)]),
        ("settings", "Which settings matter", [each.to_html() for each in _setting_figures(searches, styles)]),
        ("space", "What was searched", _spaces(searches)),
    ]
    return write_page(report.study, _head(report), sections, scripts=("figures.js", "page.js"))


def _head(report: SweepReport) -> Markup:
    facts = [
        f"{len(report.rows)} variants, {report.budget['trials']} trials each",
        f"searched by {', '.join(each.metric for each in report.objectives)}",
        f"sampler {report.sampler['name']}, pruner {report.pruner['name']}",
    ]
    return element(
        "header",
        element("p", "mtlab sweep", class_="over"),
        element("h1", report.study),
        element("p", report.why, class_="why") if report.why else None,
        element("p", verdict.verdict_sentence(report.final), class_="verdict") if report.final is not None else None,
        element("ul", [element("li", fact) for fact in facts], class_="facts"),
        element("ul", [element("li", note) for note in report.notes], class_="notes") if report.notes else None,
    )


def _results(report: SweepReport) -> Content:
    parts: list[Content] = [html_table(sweep_tables.sweep_table(report), "What each variant's search has found")]
    parts.append(element("p", sweep_tables.sweep_caption(report), class_="caption"))
    if len(report.objectives) > 1:
        front = html_table(sweep_tables.front_table(report), "Fronts")
        parts += [element("h3", "What no other trial of its variant beats"), front]
    return parts


def _best_settings(searches: Sequence[StoredSearch], report: SweepReport) -> Content:
    """Write the best settings of all variants side by side."""
    best = [row.best.params if row.best is not None else {} for row in report.rows]
    settings = [{path: plain_label(value) for path, value in params.items()} for params in best]
    return [element("h3", "Settings of the best"), _side_by_side(searches, settings, "Settings of the best")]


def _final(report: SweepReport, styles: Mapping[str, Style]) -> Content:
    final = report.final
    if final is None:
        return element("p", "The best of each variant have not been retrained on fresh seeds yet.", class_="missing")
    shown = FigureGroup("comparison", "Estimates and differences", {(): estimates.plot_estimates(final, styles)})
    return [
        html_table(tables.variant_table(final), "Tuned against tuned"),
        element("p", captions.table_caption(final), class_="caption"),
        shown.to_html(),
    ]


def _search_figures(store: Store, searches: Sequence[StoredSearch], styles: Mapping[str, Style]) -> list[FigureGroup]:
    groups = [FigureGroup("progress", "Best so far", {(): best_so_far.plot_best_so_far(searches, styles)})]
    if searches and len(searches[0].objectives) > 1:
        groups.append(
            FigureGroup("front", "What no other trial beats", {(): pareto_front.plot_pareto_front(searches, styles)})
        )
    curves: dict[tuple[str, ...], Any] = {
        (found.label,): trial_curves.plot_trial_curves(found, trial_curves.read_trial_curves(store, found), styles)
        for found in searches
    }
    return [*groups, FigureGroup("curves", "Curves of the trials", curves, (_variants(searches),))]


def _setting_figures(searches: Sequence[StoredSearch], styles: Mapping[str, Style]) -> list[FigureGroup]:
    lines: dict[tuple[str, ...], Any] = {
        (found.label,): parallel_coordinates.plot_parallel_coordinates(found, styles) for found in searches
    }
    return [
        FigureGroup("importances", "Importance", {(): importances.plot_importances(searches, styles)}),
        FigureGroup("slices", "Setting by setting", {(): slices.plot_slices(searches, styles)}),
        FigureGroup("parallel", "All settings at once", lines, (_variants(searches),)),
    ]


def _variants(searches: Sequence[StoredSearch]) -> FigureChoice:
    return FigureChoice("variant", "Variant", {found.label: found.label for found in searches})


def _spaces(searches: Sequence[StoredSearch]) -> Content:
    spaces = [{path: str(space) for path, space in found.space.items()} for found in searches]
    return _side_by_side(searches, spaces, "What was searched")


def _side_by_side(searches: Sequence[StoredSearch], columns: Sequence[Mapping[str, str]], caption: str) -> Markup:
    """Write a line for each setting that is searched anywhere, and a column for each variant."""
    paths = dict.fromkeys(path for found in searches for path in found.space)
    lines = [(element("code", path), *(column.get(path, "—") for column in columns)) for path in paths]
    return plain_table(("setting", *(found.label for found in searches)), lines, caption=caption, text_columns={0})
