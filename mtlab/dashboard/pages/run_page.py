"""The page of a run: state, curves, layers, results, configuration, log and environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import yaml
from dash import dcc, html

from mtlab.dashboard import components, controls
from mtlab.dashboard.address import page_href
from mtlab.dashboard.cached_store import file_state
from mtlab.dashboard.components import CONDITIONS, Component, TableColumn
from mtlab.dashboard.page import Page, PageRequest
from mtlab.dashboard.summaries import DAMAGED, RunSummary
from mtlab.errors import UserError
from mtlab.launch.exit_status import RunFailure
from mtlab.recording import reader
from mtlab.report import recordings
from mtlab.report.figures import theme
from mtlab.report.figures.curves import plot_curves
from mtlab.report.figures.layers.aggregation import plot_aggregation
from mtlab.report.figures.layers.evolution import plot_evolution
from mtlab.report.figures.layers.worth import families, plot_worth, plot_worth_by_family
from mtlab.report.figures.theme import Style
from mtlab.report.formats import numbers
from mtlab.report.provenance import format_setting
from mtlab.report.recordings import StudyRun
from mtlab.runs.store import is_sweep

LOG_BYTES = 24_000  #: shown of the end of a log


def draw_run_page(request: PageRequest) -> Page:
    """Draw the page of a run.

    Raises:
        UserError: no such run.

    """
    run = _run(request)
    body = [
        _problem(request, run),
        _curves(request, run),
        *_layers(request, run),
        _results(request, run),
        _configuration(request, run),
        _log(request, run),
        _environment(request, run),
    ]
    logged = _logged(request, run)
    bar = [request.kind_switch()]
    if logged:
        options = {name: name for name in logged}
        bar.insert(0, controls.dropdown("metric", "curve", options, _metric(request, logged), _default_metric(logged)))
    return Page(run.title, _head(request, run), (html.Div(bar, className="filters"),), body)


def run_page_state(request: PageRequest) -> object:
    """Return what the page depends on."""
    run = _run(request)
    log = request.data.store.run(run.id) / "log.txt"
    return (
        run.state,
        file_state(log),
        file_state(request.data.store.derived(run.id)),
        components.time_ago(run.changed),
    )


def _run(request: PageRequest) -> RunSummary:
    return request.data.run("/".join(request.address.path[1:]), request.address.text("study"))


def _head(request: PageRequest, run: RunSummary) -> Component:
    studies = request.data.studies_of(run.id)
    links: list[Component] = []
    for name in studies:
        links += [dcc.Link(name, href=page_href("study", name)), " "]
    return [
        html.P("Run", className="kind"),
        html.H1([run.label, html.Span(f" seed {run.seed}", className="quiet")]),
        html.Div([components.run_badge(run), _progress(run)], className="summary"),
        components.definition_list(
            [
                ("id", html.Code(run.id)),
                ("study", html.Span(links) if links else "none: no study of this store asks for it (any more)"),
                ("attempt", str(run.attempt) if run.attempt else None),
                ("host", run.host),
                ("last change", components.time_element(run.changed) if run.changed else None),
                ("folder", html.Code(str(request.data.store.run(run.id)))),
            ]
        ),
    ]


def _progress(run: RunSummary) -> Component:
    """Show the progress of the run as a bar."""
    if not run.steps:
        return None
    share = 100 * min(1.0, run.step / run.steps)
    text = f"step {run.step:,} of {run.steps:,}"
    filled = html.Div(style={"width": f"{share:.1f}%"}, className=f"segment {run.condition}")
    bar = html.Div(filled, className="bar", role="img", **components.aria_label(text))
    return html.Div([bar, html.Span(text, className="share")], className="progress")


def _problem(request: PageRequest, run: RunSummary) -> Component:
    """Say what is wrong with the run, and what to do about it."""
    if run.condition == DAMAGED:
        advice = (
            "Nothing else of it is lost. Where it cannot be mended, remove the run's folder: `mtlab run` makes it anew."
        )
        return components.error_notice(f"A file of this run cannot be read: {run.problem}", html.P(advice))
    written = request.data.store.failure(run.id) if run.condition == "failed" else None
    if written is not None:
        failure, trace = RunFailure.from_json(written), str(written.get("trace") or "")
        return components.error_notice(
            f"Attempt {failure.attempt} failed: {failure}",
            html.P(f"What to do: {failure.advice}."),
            components.definition_list([("where", html.Code(failure.where) if failure.where else None)]),
            html.Details([html.Summary("Traceback"), html.Pre(trace)]) if trace else None,
        )
    if run.problem:
        return components.error_notice(run.problem)
    if run.condition in ("new", "interrupted"):
        studies = request.data.studies_of(run.id)
        return components.empty_notice(
            f"This run is {CONDITIONS[run.condition].word}: {CONDITIONS[run.condition].meaning}.",
            components.command_line(request.data.study(studies[0]).command) if studies else None,
        )
    return None


def _logged(request: PageRequest, run: RunSummary) -> list[str]:
    rows = request.data.store.metrics(run.id)
    return list(dict.fromkeys(name for row in rows for name in row if name not in ("step", "seconds")))


def _default_metric(logged: list[str]) -> str:
    return next((name for name in ("val/accuracy", "val/loss") if name in logged), logged[0])


def _metric(request: PageRequest, logged: list[str]) -> str:
    return request.address.one("metric", logged, _default_metric(logged))


def _labelled(run: RunSummary) -> StudyRun:
    return StudyRun(run.title, run.seed, run.id)


def _styles(request: PageRequest, run: RunSummary) -> dict[str, Style]:
    """Return the style of the run: the colour of its variant in its study."""
    plan = next(_plans(request, run), None)
    return theme.run_styles({} if plan is None else theme.study_styles(plan), [(run.title, run.label)])


def _curves(request: PageRequest, run: RunSummary) -> Component:
    logged = _logged(request, run)
    if not logged:
        return components.section(
            "Curves",
            components.empty_notice(
                "This run has logged nothing yet: its first curve point comes with its first evaluation."
            ),
        )
    history = {_labelled(run): request.data.store.metrics(run.id)}
    figure = plot_curves(history, _metric(request, logged), _styles(request, run))
    return request.figure(figure, "curves")


def _layers(request: PageRequest, run: RunSummary) -> list[Component]:
    label = _labelled(run)
    layers = request.data.finished(run.id, reader.LAYERS, reader.read_layers)
    trace = request.data.finished(run.id, reader.TRACE, reader.read_trace)
    if isinstance(layers, reader.Missing):
        why = "the search pruned it before its end, when they are recorded" if run.condition == "pruned" else layers.why
        return [components.section("Layers", components.empty_notice(f"There is nothing to see of its layers: {why}."))]
    measured = recordings.run_worth(request.data.store, run.id)
    worths = {} if isinstance(measured, reader.Missing) else {label: measured}
    styles = _styles(request, run)
    figures = [
        request.figure(plot_aggregation({label: layers}, styles, request.kind), "aggregation"),
        request.figure(plot_worth({label: layers}, worths, styles), "worth"),
    ]
    if families(worths.values()):
        figures.append(request.figure(plot_worth_by_family(worths, label.label), "worth-by-family"))
    if isinstance(trace, reader.TrainingTrace):
        figures.append(request.figure(plot_evolution({label: trace}, label.label, request.kind), "evolution"))
    missing = [trace.why] if isinstance(trace, reader.Missing) else []
    explorer = dcc.Link(
        "See it word by word and patch by patch", href=page_href("tokens", run=run.id), className="more"
    )
    return [components.section("Layers", explorer, *figures, components.note_list(missing))]


def _results(request: PageRequest, run: RunSummary) -> Component:
    result = request.data.store.result(run.id)
    if result is None:
        return None
    metrics, splits = result["metrics"], ("train", "val", "test")
    names = [name for name in dict.fromkeys(name.partition("/")[2] for name in metrics) if _result_name(name)]
    columns = [TableColumn("metric", [_result_name(name) for name in names], heads=True)]
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


def _result_name(metric: str) -> str:
    """Return how a metric is called in the table; empty for those that repeat another or are errors of a floor."""
    score, _, family = metric.partition("/")
    if score.startswith("primary") or score.endswith("_floor_error"):
        return ""
    floor = score.endswith("_floor")
    name = f"best blind answer, {score.removesuffix('_floor')}" if floor else score
    return f"{name}, {family}" if family else name


def _configuration(request: PageRequest, run: RunSummary) -> Component:
    config = request.data.store.config(run.id)
    if config is None:
        message = "Its configuration is written when `mtlab run` starts the study."
        return components.section(
            "Configuration", components.empty_notice(message if run.condition != DAMAGED else "It cannot be read.")
        )
    text = yaml.safe_dump(config["config"], sort_keys=False, allow_unicode=True, default_flow_style=None)
    whole = html.Details([html.Summary("The whole configuration"), html.Pre(text, tabIndex=0)], className="long")
    return components.section("Configuration", _baseline_differences(request, run), whole)


def _baseline_differences(request: PageRequest, run: RunSummary) -> Component:
    """Show the settings in which the run differs from its baseline."""
    plan = next(_plans(request, run), None)
    rows: list[Mapping[str, Any]] = [] if plan is None else plan["rows"]
    row = next((row for row in rows if row["cell"] == run.cell), None)
    if row is None or not row["differences"]:
        return None
    baseline = next((each["label"] for each in rows if each["cell"] == row["compare_to"]), rows[0]["label"])
    sweep = plan is not None and is_sweep(plan)
    columns = [
        TableColumn("setting", [html.Code(path) for path in row["differences"]], heads=True),
        TableColumn("value", [html.Code(format_setting(value)) for value in row["differences"].values()]),
    ]
    caption = "What the search proposed for this trial." if sweep else f"In these settings it differs from {baseline}."
    return [html.P(caption, className="about"), components.data_table(columns, caption)]


def _plans(request: PageRequest, run: RunSummary) -> Iterator[Mapping[str, Any]]:
    """Yield the plans of the studies that the run belongs to, the one named in the address first."""
    for study in sorted(request.data.studies_of(run.id), key=lambda name: name != request.address.text("study")):
        with suppress(UserError):  # the page of the study shows it
            yield request.data.store.plan(study)


def _log(request: PageRequest, run: RunSummary) -> Component:
    path = request.data.store.run(run.id) / "log.txt"
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - LOG_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return components.section(
            "Log", components.empty_notice("There is no log yet: it begins when a worker starts the run.")
        )
    lines = (text.partition("\n")[2] if size > LOG_BYTES else text).rstrip()
    about = f"The end of {path}" if size > LOG_BYTES else str(path)
    shown = html.Div(
        html.Pre(lines), className="log", tabIndex=0, role="region", **components.aria_label("The end of the log")
    )
    return components.section("Log", shown if lines else components.empty_notice("The log is empty."), about=about)


def _environment(request: PageRequest, run: RunSummary) -> Component:
    state, result = request.data.store.run_state(run.id), request.data.store.result(run.id)
    config = request.data.store.config(run.id) or {}
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
