"""The first page: all studies of the store, and runs that belong to none."""

from __future__ import annotations

from collections.abc import Sequence

from dash import dcc, html

from mtlab.dashboard import components, controls
from mtlab.dashboard.address import page_href
from mtlab.dashboard.components import Component, TableColumn
from mtlab.dashboard.page import Page, PageRequest
from mtlab.dashboard.summaries import OrphanRun, StudySummary
from mtlab.dashboard.sweep.search_tab import winners_link

MAX_ORPHANS = 200  #: that are listed


def draw_studies_page(request: PageRequest) -> Page:
    """Draw the list of studies."""
    studies, orphans = request.data.studies(), request.data.orphans()
    wanted = request.address.text("find")
    found = [study for study in studies if wanted.casefold() in f"{study.name} {study.why}".casefold()]
    bar = [controls.search_box("find", "Find a study", wanted, "name or question")] if len(studies) > 3 else []
    body: list[Component] = []
    if not studies:
        body.append(_nothing(request))
    elif not found:
        body.append(components.empty_notice(f"No study of this store has {wanted!r} in its name or question."))
    else:
        body.append(_table(request, found))
    if orphans:
        body.append(_orphans(orphans))
    return Page("Studies", _head(studies), bar, body)


def studies_page_state(request: PageRequest) -> object:
    """Return what the page depends on."""
    studies = request.data.studies()
    orphans = [(orphan.name, orphan.summary and orphan.summary.state) for orphan in request.data.orphans()]
    return [
        (study.state, request.data.verdict(study), components.time_ago(study.changed)) for study in studies
    ], orphans


def _head(studies: Sequence[StudySummary]) -> Component:
    runs = {run.id: run.condition for study in studies for run in study.runs}
    total = {name: list(runs.values()).count(name) for name in components.CONDITIONS}
    sweeps = sum(study.sweep for study in studies)
    parts = [_count(len(studies) - sweeps, "study", "studies"), _count(len(runs), "run", "runs")]
    text = ", ".join([parts[0], *([_count(sweeps, "sweep", "sweeps")] if sweeps else []), parts[1]])
    return [html.H1("Studies"), html.P([html.Span(text), components.condition_counts(total)], className="summary")]


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _nothing(request: PageRequest) -> Component:
    return components.empty_notice(
        "There is no study in this store yet.",
        html.P(
            "A first comparison, four ways to aggregate layers with three seeds each, takes some minutes on a laptop:"
        ),
        request.command_line("run", "quickstart"),
        html.P("A study of your own starts as a copy of a recipe:"),
        components.command_line("mtlab new mine"),
        html.P("This page shows a study as soon as it is planned: there is no need to load it again."),
    )


def _table(request: PageRequest, studies: Sequence[StudySummary]) -> Component:
    return components.data_table(
        [
            TableColumn("study", [_name(study) for study in studies], heads=True),
            TableColumn("progress", [_progress(study) for study in studies]),
            TableColumn("verdict", [_verdict(request, study) for study in studies]),
            TableColumn("last change", [components.time_element(study.changed) for study in studies]),
        ],
        "All studies of the store, the one that changed last first",
    )


def _name(study: StudySummary) -> Component:
    link = dcc.Link(study.name, href=page_href("study", study.name), className="name")
    return [link, html.P(study.why, className="why")] if study.why else link


def _progress(study: StudySummary) -> Component:
    if study.problem:
        return components.badge("damaged")
    if study.sweep and not study.runs:
        return html.Span("planned", className="quiet")
    return [components.progress_bar(study.counts, study.progress), components.condition_counts(study.counts)]


def _verdict(request: PageRequest, study: StudySummary) -> Component:
    if study.problem:
        return html.P(study.problem, className="problem")
    text = request.data.verdict(study)
    return html.Span("being worked out …", className="quiet") if text is None else [text, *winners_link(request, study)]


def _orphans(orphans: Sequence[OrphanRun]) -> Component:
    text = (
        "Runs that no study of this store asks for (any more), and folders that are none of mtlab's. "
        "Nothing is lost: a study that asks for such a run again finds it."
    )
    listed = orphans[:MAX_ORPHANS]
    more = f" The first {MAX_ORPHANS} of {len(orphans)} are listed." if len(orphans) > MAX_ORPHANS else ""
    columns = [
        TableColumn(
            "run", [each.name if each.summary is None else components.run_link(each.name, each.name) for each in listed]
        ),
        TableColumn("state", [_orphan_condition(each) for each in listed]),
        TableColumn("variant", ["" if each.summary is None else each.summary.label for each in listed]),
    ]
    return html.Details(
        [
            html.Summary(f"Beside the studies: {len(orphans)}"),
            html.P(text + more, className="about"),
            components.data_table(columns, "Runs that belong to no study"),
        ],
        className="section",
    )


def _orphan_condition(orphan: OrphanRun) -> Component:
    return (
        html.Span("not mtlab's", className="quiet") if orphan.summary is None else components.run_badge(orphan.summary)
    )
