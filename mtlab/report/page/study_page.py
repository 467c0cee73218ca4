"""`mtlab report --format html`: what a study asked, found, and shows of its layers, on one page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from mtlab.recording import reader, run_dataset
from mtlab.recording.reader import Missing
from mtlab.recording.run_dataset import ImageArray
from mtlab.report import frame, verdict
from mtlab.report.figures.disagreements import DisagreementTable, find_disagreements
from mtlab.report.formats import captions, tables
from mtlab.report.page import study_figures
from mtlab.report.page.document import kind_switch, write_document
from mtlab.report.page.figure_group import FigureGroup
from mtlab.report.page.html_writer import Content, Markup, element, html_table, plain_table
from mtlab.report.page.token_view import RecordedRun, token_view
from mtlab.report.provenance import FailedRun, Provenance, read_provenance
from mtlab.report.study import StudyResults
from mtlab.report.study_report import StudyReport
from mtlab.runs.store import Store

LIMIT = 20  #: examples that two variants disagree on


def study_page(store: Store, plan: Mapping[str, Any]) -> str:
    """Write the page of a study, however much of it has run.

    Args:
        store: where its runs are.
        plan: its stored plan, see `Store.plan`.

    Raises:
        UserError: the plan names a test that does not exist, or a file of the store is damaged.

    """
    made = StudyResults(store, plan)
    known = read_provenance(store, plan)
    sections: list[tuple[str, str, Content]] = [
        ("result", "Result", [_tables(made.report), _shown(study_figures.result_figures(made))]),
        ("layers", "Layers", [_missing(made), _shown(study_figures.layer_figures(made))]),
        ("words", "Words and patches", _tokens(store, known)),
        ("pairs", "Pairs", [_shown(study_figures.pair_figures(made)), _disagreements(store, made)]),
        ("training", "Training", _shown(study_figures.training_figures(made))),
        ("inside", "Inside", _shown(study_figures.model_figures(made))),
        ("origins", "Where it comes from", _origins(plan, known)),
    ]
    links = [element("li", element("a", title, href=f"#{name}")) for name, title, _ in sections]
    bar = element("nav", element("ul", links), kind_switch(), aria_label="Sections")
    content = [
        element(
            "section", element("h2", title, id=f"{name}-heading"), shown, id=name, aria_labelledby=f"{name}-heading"
        )
        for name, title, shown in sections
    ]
    body = [_head(made.report, known), bar, element("main", content, id="content")]
    return write_document(f"{plan['study']} – mtlab", body, figures=True, scripts=("page.js", "tokens.js"))


def _head(report: StudyReport, known: Provenance) -> Markup:
    done, all_runs = report.runs.get("done", 0), report.runs["asked"]
    others = [f"{number} {state}" for state, number in report.runs.items() if state not in ("asked", "done")]
    facts = [
        f"{done} of {all_runs} runs finished" + (f" ({', '.join(others)})" if others else ""),
        f"judged by {report.metric}",
        captions.describe_seeds(report),
        *([] if report.examples is None else [f"{report.examples} examples"]),
    ]
    return element(
        "header",
        element("p", "mtlab study", class_="over"),
        element("h1", report.study),
        element("p", report.why, class_="why") if report.why else None,
        element("p", verdict.verdict_sentence(report), class_="verdict"),
        element("ul", [element("li", fact) for fact in facts], class_="facts"),
        element("ul", [element("li", note) for note in report.notes], class_="notes") if report.notes else None,
        element("p", element("a", f"{len(known.failed)} failed: what they said", href="#failed"))
        if known.failed
        else None,
    )


def _tables(report: StudyReport) -> Content:
    view = report.side_by_side
    parts: list[Content] = [
        html_table(tables.variant_table(report), f"{report.study}: variants"),
        element("p", captions.table_caption(report), class_="caption"),
    ]
    if view is not None:
        table = html_table(tables.side_by_side_table(view), "Side by side")
        caption = element("p", captions.side_by_side_caption(view), class_="caption")
        parts += [element("h3", "Side by side"), table, caption]
    parts += [element("p", line) for line in captions.published_sentences(report)]
    if report.published_rows:
        table = html_table(tables.published_table(report), "Published")
        parts += [element("h3", "Published results"), table, element("p", captions.PUBLISHED, class_="caption")]
    if report.families:
        table = html_table(tables.family_table(report), "By family of questions")
        caption = element("p", captions.family_caption(report), class_="caption")
        parts += [element("h3", "By family of questions"), table, caption]
    return parts


def _shown(of: Sequence[FigureGroup]) -> Content:
    return [gallery.markup() for gallery in of]


def _missing(made: StudyResults) -> Content:
    return element("p", f"Not shown: {made.layers.why}.", class_="missing") if made.layers.why else None


def _tokens(store: Store, known: Provenance) -> Content:
    """Show the words and patches of each variant's first run that recorded them."""
    runs: dict[str, RecordedRun] = {}
    albums: dict[str, Callable[[str], ImageArray | Missing]] = {}
    reasons: dict[str, None] = {}
    for source, state in known.states.items():
        if state != "done" or source.label in runs:
            continue
        found = reader.read_tokens(store.run(source.run))
        if isinstance(found, Missing):
            reasons[found.why] = None
        elif found.examples:
            config = store.config(source.run) or {}
            key = json.dumps(config.get("config", {}).get("data"), sort_keys=True)
            album = albums.setdefault(key, partial(run_dataset.load_image, run_dataset.open_dataset(config)))
            runs[source.label] = RecordedRun(source.title, found, album)
    if not runs:
        told = "; ".join(reasons) or "no run is finished"
        return element("p", f"Words and patches cannot be shown: {told}.", class_="missing")
    return token_view(list(runs.values()))


def _disagreements(store: Store, made: StudyResults) -> Content:
    split = made.report.metric.partition("/")[0]
    outcomes = frame.outcome_frame(store, made.plan, split=split)
    cells = {row["label"]: row["cell"] for row in reversed(made.plan["rows"])}
    config = next((found for run in made.plan["runs"] if (found := store.config(run["id"])) is not None), None)
    data = run_dataset.open_dataset(config)
    answers, texts = run_dataset.answer_names(data), run_dataset.example_texts(data, split)
    tables = [
        find_disagreements(outcomes, (cells[first], cells[second]), (first, second), answers, texts, LIMIT)
        for first, second in study_figures.variant_pairs(made)
    ]
    tables = [each for each in tables if each.rows]
    if not tables:
        return None
    return [
        element("h3", "Examples on which variants disagree"),
        [
            element("details", element("summary", f"{each.names[0]} and {each.names[1]}"), _disagreeing(each))
            for each in tables
        ],
    ]


def _disagreeing(made: DisagreementTable) -> Content:
    first, second = made.names
    header = ("example", "question", "right", f"{first} says", f"{second} says", f"{first} right", f"{second} right")
    lines = [
        (
            row.id,
            row.text or row.family,
            row.truth or "—",
            row.first_says or "—",
            row.second_says or "—",
            f"{row.first:.0%}",
            f"{row.second:.0%}",
        )
        for row in made.rows
    ]
    shown = plain_table(header, lines, caption=f"{first} and {second}", text_columns=range(5))
    return [element("p", made.caption, class_="caption"), shown]


def _origins(plan: Mapping[str, Any], known: Provenance) -> Content:
    return [
        element("h3", "How the variants differ"),
        _differing(known),
        element("h3", "How to make it again"),
        _again(plan, known),
        element("h3", "What ran it"),
        _environment(known),
        _failures(known.failed),
    ]


def _differing(known: Provenance) -> Content:
    started = [name for name, config in known.configurations.items() if config is not None]
    differing = known.differing
    lines = [
        (element("code", key), *(element("code", values[name]) for name in started))
        for key, values in differing.items()
    ]
    shown = plain_table(("setting", *started), lines, caption="Settings in which variants differ") if lines else None
    waiting = [name for name, config in known.configurations.items() if config is None]
    whole = [
        element(
            "details",
            element("summary", f"Whole configuration of {name}"),
            element("pre", json.dumps(config, indent=2, ensure_ascii=False)),
        )
        for name, config in known.configurations.items()
        if config is not None
    ]
    return [
        shown or element("p", "No setting differs between the variants that have been started.", class_="missing"),
        element("p", f"Not started yet: {', '.join(waiting)}.", class_="missing") if waiting else None,
        whole,
    ]


def _again(plan: Mapping[str, Any], known: Provenance) -> Content:
    file = f"{plan['study']}.yaml"
    command = " ".join(["mtlab run", file, *map(str, plan.get("overrides") or [])])
    cells: dict[tuple[str, str], list[str]] = {}
    for source, state in known.states.items():
        told = str(source.seed) if state == "done" else f"{source.seed} ({state})"
        cells.setdefault((source.label, source.cell), []).append(told)
    lines = [(label, element("code", cell), ", ".join(seeds)) for (label, cell), seeds in cells.items()]
    return [
        element(
            "p",
            "Save this study as ",
            element("code", file),
            " and run it: what is in the store already is not run again.",
        ),
        element("pre", known.spec) if known.spec is not None else None,
        element("pre", f"{command}\nmtlab report {plan['study']} --format html"),
        element(
            "p",
            "The id of a variant's runs tells everything that can change their results: settings, data, weights, code. "
            "The same id is the same experiment.",
            class_="caption",
        ),
        plain_table(("variant", "id", "seeds"), lines, caption="Runs"),
    ]


def _environment(known: Provenance) -> Content:
    if not known.environment:
        return element("p", "No run has been started yet.", class_="missing")
    lines = []
    for name, values in known.environment.items():
        told = [f"{value} ({count} runs)" if len(values) > 1 else value for value, count in values.most_common()]
        lines.append((name, ", ".join(told)))
    mixed = [name for name, values in known.environment.items() if len(values) > 1]
    note = f"Runs differ in: {', '.join(mixed)}." if mixed else "The same for all runs that have been started."
    return [
        plain_table(("what", "value"), lines, caption="Machines and programs"),
        element("p", note, class_="caption"),
    ]


def _failures(failed: Sequence[FailedRun]) -> Content:
    if not failed:
        return None
    lines = [(each.source.title, each.kind, each.error, element("code", each.where)) for each in failed]
    return [
        element("h3", "Runs that failed", id="failed"),
        plain_table(("run", "kind", "what it said", "where"), lines, caption="Runs that failed"),
        element("p", "`mtlab run` starts them anew; their logs lie in their folders.", class_="caption"),
    ]
