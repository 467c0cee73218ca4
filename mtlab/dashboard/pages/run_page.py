"""The page of a run: how it stands and why, its curves, its layers, what it is configured to, and its log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from dash import dcc, html

from mtlab.dashboard import components, controls, drawn
from mtlab.dashboard.address import page_href
from mtlab.dashboard.cached_store import file_state
from mtlab.dashboard.components import CONDITIONS, Component, TableColumn
from mtlab.dashboard.page import Page, PageRequest
from mtlab.dashboard.pane import chosen_kind, kind_switch
from mtlab.dashboard.summaries import DAMAGED, RunSummary
from mtlab.errors import UserError
from mtlab.launch.exit_status import RunFailure
from mtlab.recording import reader
from mtlab.report import recordings
from mtlab.report.formats import numbers
from mtlab.report.recordings import StudyRun

TAIL = 24_000  #: bytes at the end of a log that are shown


def draw_run_page(look: PageRequest) -> Page:
    """Draw the page.

    Raises:
        UserError: no such run.

    """
    card = _card(look)
    body = [
        _problem(look, card),
        _curves(look, card),
        *_layers(look, card),
        _results(look, card),
        _configuration(look, card),
        _log(look, card),
        _environment(look, card),
    ]
    logged = _logged(look, card)
    bar = [kind_switch(look.view)]
    if logged:
        options = {name: name for name in logged}
        bar.insert(0, controls.dropdown("metric", "curve", options, _metric(look, logged), _start(logged)))
    return Page(f"{card.label}, seed {card.seed}", _head(look, card), (html.Div(bar, className="filters"),), body)


def run_page_state(look: PageRequest) -> object:
    """Give what changes when the page would."""
    card = _card(look)
    log = look.data.store.run(card.id) / "log.txt"
    return (
        card.content,
        file_state(log),
        file_state(look.data.store.derived(card.id)),
        components.time_ago(card.changed),
    )


def _card(look: PageRequest) -> RunSummary:
    return look.data.run("/".join(look.view.path[1:]), look.view.text("study"))


def _head(look: PageRequest, card: RunSummary) -> Component:
    studies = look.data.studies_of(card.id)
    links: list[Component] = []
    for name in studies:
        links += [dcc.Link(name, href=page_href("study", name)), " "]
    return [
        html.P("Run", className="kind"),
        html.H1([card.label, html.Span(f" seed {card.seed}", className="quiet")]),
        html.Div([components.run_badge(card), _progress(card)], className="summary"),
        components.definition_list(
            [
                ("id", html.Code(card.id)),
                ("study", html.Span(links) if links else "none: no study of this store asks for it (any more)"),
                ("attempt", str(card.attempt) if card.attempt else None),
                ("host", card.host),
                ("last change", components.time_element(card.changed) if card.changed else None),
                ("folder", html.Code(str(look.data.store.run(card.id)))),
            ]
        ),
    ]


def _progress(card: RunSummary) -> Component:
    """Show how far it is, as a bar."""
    if not card.steps:
        return None
    share = 100 * min(1.0, card.step / card.steps)
    told = f"step {card.step:,} of {card.steps:,}"
    made = html.Div(style={"width": f"{share:.1f}%"}, className=f"segment {card.condition}")
    bar = html.Div(made, className="bar", role="img", **components.aria_label(told))
    return html.Div([bar, html.Span(told, className="share")], className="progress")


def _problem(look: PageRequest, card: RunSummary) -> Component:
    """Say what is wrong with a run, and what to do about it."""
    if card.condition == DAMAGED:
        advice = (
            "Nothing else of it is lost. Where it cannot be mended, remove the run's folder: `mtlab run` makes it anew."
        )
        return components.error_notice(f"A file of this run cannot be read: {card.problem}", html.P(advice))
    written = look.data.store.failure(card.id) if card.condition == "failed" else None
    if written is not None:
        failure, trace = RunFailure.from_json(written), str(written.get("trace") or "")
        return components.error_notice(
            f"Attempt {failure.attempt} failed: {failure}",
            html.P(f"What to do: {failure.advice}."),
            components.definition_list([("where", html.Code(failure.where) if failure.where else None)]),
            html.Details([html.Summary("Traceback"), html.Pre(trace)]) if trace else None,
        )
    if card.problem:
        return components.error_notice(card.problem)
    if card.condition in ("new", "interrupted"):
        study = look.data.studies_of(card.id)
        return components.empty_notice(
            f"This run is {CONDITIONS[card.condition][1]}: {CONDITIONS[card.condition][2]}.",
            components.command_line(f"mtlab run {study[0] if study else 'FILE'}"),
        )
    return None


def _logged(look: PageRequest, card: RunSummary) -> list[str]:
    rows = look.data.store.metrics(card.id)
    return list(dict.fromkeys(name for row in rows for name in row if name not in ("step", "seconds")))


def _start(logged: list[str]) -> str:
    return next((name for name in ("val/accuracy", "val/loss") if name in logged), logged[0])


def _metric(look: PageRequest, logged: list[str]) -> str:
    return look.view.one("metric", logged, _start(logged))


def _source(card: RunSummary) -> StudyRun:
    return StudyRun(f"{card.label}, seed {card.seed}", card.seed, card.id)


def _curves(look: PageRequest, card: RunSummary) -> Component:
    from mtlab.report.figures.curves import plot_curves

    logged = _logged(look, card)
    if not logged:
        return components.section(
            "Curves",
            components.empty_notice(
                "This run has logged nothing yet: its first curve point comes with its first evaluation."
            ),
        )
    made = plot_curves({_source(card): look.data.store.metrics(card.id)}, _metric(look, logged))
    return drawn.figure_component(made, "curves", look.dark)


def _layers(look: PageRequest, card: RunSummary) -> list[Component]:
    from mtlab.report.figures.layers.aggregation import plot_aggregation
    from mtlab.report.figures.layers.evolution import plot_evolution
    from mtlab.report.figures.layers.worth import plot_worth

    kind, source = chosen_kind(look.view), _source(card)
    layers, trace = look.data.layers_of(card.id), look.data.trace_of(card.id)
    if isinstance(layers, reader.Missing):
        return [
            components.section(
                "Layers", components.empty_notice(f"There is nothing to see of its layers: {layers.why}.")
            )
        ]
    found = {source: layers}
    value = recordings.run_worth(look.data.store, card.id)
    worths = {} if isinstance(value, reader.Missing) else {source: value}
    figures = [
        drawn.figure_component(plot_aggregation(found, None, kind), "aggregation", look.dark),
        drawn.figure_component(plot_worth(found, worths), "worth", look.dark),
    ]
    if isinstance(trace, reader.TrainingTrace):
        figures.append(
            drawn.figure_component(plot_evolution({source: trace}, source.label, kind), "evolution", look.dark)
        )
    told = [trace.why] if isinstance(trace, reader.Missing) else []
    explorer = dcc.Link(
        "See it word by word and patch by patch", href=page_href("tokens", run=card.id), className="more"
    )
    return [components.section("Layers", explorer, *figures, components.note_list(told))]


def _results(look: PageRequest, card: RunSummary) -> Component:
    result = look.data.store.result(card.id)
    if result is None:
        return None
    metrics, splits = result["metrics"], ("train", "val", "test")
    names = list(dict.fromkeys(name.partition("/")[2] for name in metrics))
    columns = [TableColumn("metric", [name.replace("/", ", ") for name in names], heads=True)]
    columns += [
        TableColumn(
            split,
            [numbers.format_score(metrics.get(f"{split}/{name}"), f"{split}/{name}") for name in names],
            numeric=True,
        )
        for split in splits
    ]
    about = f"At the best checkpoint, that of step {result.get('best_step', '?')} of {result['steps']}"
    about += ", where it stopped early." if result.get("stopped_early") else "."
    return components.section("Results", components.data_table(columns, "Results of this run"), about=about)


def _configuration(look: PageRequest, card: RunSummary) -> Component:
    import yaml

    config = look.data.store.config(card.id)
    if config is None:
        told = "Its configuration is written when `mtlab run` starts the study."
        return components.section(
            "Configuration", components.empty_notice(told if card.condition != DAMAGED else "It cannot be read.")
        )
    text = yaml.safe_dump(config["config"], sort_keys=False, allow_unicode=True, default_flow_style=None)
    whole = html.Details([html.Summary("The whole configuration"), html.Pre(text, tabIndex=0)], className="long")
    return components.section("Configuration", _differs(look, card), whole)


def _differs(look: PageRequest, card: RunSummary) -> Component:
    """Show in what a run differs from the variant that its study compares it with."""
    rows: list[Mapping[str, Any]] = next((plan["rows"] for plan in _plans(look, card)), [])
    row = next((row for row in rows if row["cell"] == card.cell), None)
    if row is None or not row.get("differences"):
        return None
    against = next((each["label"] for each in rows if each["cell"] == row.get("compare_to")), rows[0]["label"])
    columns = [
        TableColumn("setting", [html.Code(path) for path in row["differences"]], heads=True),
        TableColumn("value", [html.Code(components.format_setting(value)) for value in row["differences"].values()]),
    ]
    told = f"In these settings it differs from {against}."
    return [html.P(told, className="about"), components.data_table(columns, told)]


def _plans(look: PageRequest, card: RunSummary) -> Iterator[Mapping[str, Any]]:
    """Give the plans of the studies that a run belongs to, the one that it is looked at from first."""
    for study in sorted(look.data.studies_of(card.id), key=lambda name: name != look.view.text("study")):
        with suppress(UserError):  # the study's own page tells
            yield look.data.store.plan(study)


def _log(look: PageRequest, card: RunSummary) -> Component:
    path = look.data.store.run(card.id) / "log.txt"
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - TAIL))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return components.section(
            "Log", components.empty_notice("There is no log yet: it begins when a worker starts the run.")
        )
    lines = (text.partition("\n")[2] if size > TAIL else text).rstrip()
    about = f"The end of {path}" if size > TAIL else str(path)
    shown = html.Div(
        html.Pre(lines), className="log", tabIndex=0, role="region", **components.aria_label("The end of the log")
    )
    return components.section("Log", shown if lines else components.empty_notice("The log is empty."), about=about)


def _environment(look: PageRequest, card: RunSummary) -> Component:
    state, result = look.data.store.run_state(card.id), look.data.store.result(card.id)
    config = look.data.store.config(card.id) or {}
    cost = {**(config.get("cost") or {}), **((result or {}).get("cost") or {})}
    pairs: list[tuple[str, Component]] = [
        ("trained parameters", numbers.format_count(cost.get("trained_params")) if "trained_params" in cost else None),
        ("FLOPs of an example", numbers.format_count(cost.get("flops_forward")) if "flops_forward" in cost else None),
        ("training time", numbers.format_duration(cost["seconds"]) if "seconds" in cost else None),
        (
            "examples per second",
            numbers.format_count(cost["examples_per_second"]) if "examples_per_second" in cost else None,
        ),
        ("peak memory", f"{cost['memory_mib']:.0f} MiB" if "memory_mib" in cost else None),
    ]
    if state is not None:
        git = state.get("git") or {}
        pairs += [
            ("host", state.get("host")),
            ("device", state.get("device")),
            ("threads", str(state.get("threads", ""))),
            ("processes", str(state.get("processes", ""))),
            ("started", state.get("started")),
            (
                "commit",
                f"{str(git['commit'])[:10]}{' (changed)' if git.get('dirty') else ''}" if git.get("commit") else None,
            ),
            *((name, str(version)) for name, version in (state.get("versions") or {}).items()),
        ]
    if all(value in (None, "") for _, value in pairs):
        return components.section(
            "Cost and environment", components.empty_notice("They are known once a worker has started the run.")
        )
    return components.section("Cost and environment", components.definition_list(pairs))
