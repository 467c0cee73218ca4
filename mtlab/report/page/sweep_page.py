"""A sweep as one page: what was searched and found, how the searches went, and the tuned variants on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtlab.report import sweep, verdict
from mtlab.report.figures import comparison, theme
from mtlab.report.figures.search import importances, parallel, pareto_front, search_progress, slices, trial_curves
from mtlab.report.figures.theme import Style
from mtlab.report.formats import captions, grid, sweep_tables
from mtlab.report.page.gallery import Choice, Gallery
from mtlab.report.page.markup import Content, Markup, element, table
from mtlab.report.page.shell import document
from mtlab.report.page.study_page import cells
from mtlab.report.sweep import SweepReport
from mtlab.runs.store import Store
from mtlab.studies.axes import plain_label
from mtlab.sweeps.stored import StoredSearch


def sweep_page(store: Store, plan: Mapping[str, Any], searches: Sequence[StoredSearch]) -> str:
    """Write the page of a sweep, however far it is.

    Args:
        store: where its runs are.
        plan: its stored plan.
        searches: see `mtlab.sweeps.stored`.

    """
    report = sweep.build(store, plan, searches)
    styles = theme.styles(found.label for found in searches)
    sections: list[tuple[str, str, Content]] = [
        ("result", "What was found", [_found(report), _best(searches, report)]),
        ("test", "Tuned against tuned", _final(report, styles)),
        ("search", "How the searches went", [each.markup() for each in _search(store, searches, styles)]),
        ("settings", "Which settings matter", [each.markup() for each in _settings(searches, styles)]),
        ("space", "What was searched", _spaces(searches)),
    ]
    links = [element("li", element("a", title, href=f"#{name}")) for name, title, _ in sections]
    content = [
        element(
            "section", element("h2", title, id=f"{name}-heading"), shown, id=name, aria_labelledby=f"{name}-heading"
        )
        for name, title, shown in sections
    ]
    bar = element("nav", element("ul", links), aria_label="Sections")
    body = [_head(report), bar, element("main", content, id="content")]
    return document(f"{plan['study']} – mtlab", body, figures=True, scripts=("page.js",))


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
        element("p", verdict.sentence(report.final), class_="verdict") if report.final is not None else None,
        element("ul", [element("li", fact) for fact in facts], class_="facts"),
        element("ul", [element("li", note) for note in report.notes], class_="notes") if report.notes else None,
    )


def _found(report: SweepReport) -> Content:
    header, lines = sweep_tables.main(report)
    parts: list[Content] = [table(header, lines, caption="What each variant's search has found", left={0})]
    parts.append(element("p", sweep_tables.caption(report), class_="caption"))
    if len(report.objectives) > 1:
        header, lines = sweep_tables.front(report)
        parts += [element("h3", "What no other trial of its variant beats")]
        parts.append(table(header, lines, caption="Fronts", left={0, len(header) - 1}))
    return parts


def _best(searches: Sequence[StoredSearch], report: SweepReport) -> Content:
    """Show the best settings of all variants side by side."""
    paths = list(dict.fromkeys(path for found in searches for path in found.space))
    best = [row.best.params if row.best is not None else {} for row in report.rows]
    lines = [
        (element("code", path), *(plain_label(params[path]) if path in params else "—" for params in best))
        for path in paths
    ]
    header = ("setting", *(row.label for row in report.rows))
    return [element("h3", "Settings of the best"), table(header, lines, caption="Settings of the best", left={0})]


def _final(report: SweepReport, styles: Mapping[str, Style]) -> Content:
    final = report.final
    if final is None:
        return element("p", "The best of each variant have not been retrained on fresh seeds yet.", class_="missing")
    shown = Gallery("comparison", "Estimates and differences", {(): comparison.comparison(final, styles)})
    return [
        cells(grid.main(final), "Tuned against tuned"),
        element("p", captions.caption(final), class_="caption"),
        shown.markup(),
    ]


def _search(store: Store, searches: Sequence[StoredSearch], styles: Mapping[str, Style]) -> list[Gallery]:
    made = [Gallery("progress", "Best so far", {(): search_progress.progress(searches, styles)})]
    if searches and len(searches[0].objectives) > 1:
        made.append(Gallery("front", "What no other trial beats", {(): pareto_front.front(searches, styles)}))
    drawn: dict[tuple[str, ...], Any] = {
        (found.label,): trial_curves.curves(found, trial_curves.read(store, found), styles) for found in searches
    }
    return [*made, Gallery("curves", "Curves of the trials", drawn, (_variants(searches),))]


def _settings(searches: Sequence[StoredSearch], styles: Mapping[str, Style]) -> list[Gallery]:
    lines: dict[tuple[str, ...], Any] = {(found.label,): parallel.parallel(found, styles) for found in searches}
    return [
        Gallery("importances", "Importance", {(): importances.importances(searches, styles)}),
        Gallery("slices", "Setting by setting", {(): slices.slices(searches, styles)}),
        Gallery("parallel", "All settings at once", lines, (_variants(searches),)),
    ]


def _variants(searches: Sequence[StoredSearch]) -> Choice:
    return Choice("variant", "Variant", {found.label: found.label for found in searches})


def _spaces(searches: Sequence[StoredSearch]) -> Content:
    paths = list(dict.fromkeys(path for found in searches for path in found.space))
    lines = [
        (element("code", path), *(str(found.space[path]) if path in found.space else "—" for found in searches))
        for path in paths
    ]
    header = ("setting", *(found.label for found in searches))
    return table(header, lines, caption="What was searched", left=set(range(len(header))))
