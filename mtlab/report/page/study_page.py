"""The page of a study (`mtlab report --format html`): results, layers, words, pairs, training, provenance."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from mtlab.recording import run_dataset
from mtlab.recording.reader import Missing
from mtlab.recording.run_dataset import ImageArray
from mtlab.report import frame, recordings
from mtlab.report.comparison import verdict
from mtlab.report.figures.disagreements import DisagreementTable, find_disagreements, shared_examples
from mtlab.report.formats import captions, speed_table, tables
from mtlab.report.formats.run_again import run_from_text
from mtlab.report.page import study_figures
from mtlab.report.page.document import write_page
from mtlab.report.page.figure_group import FigureGroup
from mtlab.report.page.html_writer import Content, Markup, element, html_table, plain_table
from mtlab.report.page.token_page import RecordedRun, token_section
from mtlab.report.provenance import FailedRun, Provenance, read_provenance
from mtlab.report.study import StudyResults
from mtlab.report.study_report import StudyReport
from mtlab.runs.store import Store

MAX_DISAGREEMENTS = 200  #: examples listed for a pair of variants


def study_page(store: Store, plan: Mapping[str, Any]) -> str:
    """Write the page of a study, however much of it has run.

    Args:
        store: where its runs are.
        plan: its stored plan, see `Store.plan`.

    Raises:
        UserError: the plan names a test that does not exist, or a file of the store is damaged.

    """
    study = StudyResults(store, plan)
    provenance = read_provenance(store, plan)
    sections: list[tuple[str, str, Content]] = [
        ("result", "Result", [_tables(study), _figures(study_figures.result_figures(study))]),
        ("layers", "Layers", [_missing(study), _figures(study_figures.layer_figures(study))]),
        ("words", "Words and patches", _tokens(study, provenance)),
        ("pairs", "Pairs", [_figures(study_figures.pair_figures(study)), _disagreements(study)]),
        ("training", "Training", _figures(study_figures.training_figures(study))),
        ("inside", "Inside", _figures(study_figures.model_figures(study))),
        ("origins", "Where it comes from", _provenance(plan, provenance)),
    ]
    header = _head(study.report, provenance)
    return write_page(plan["study"], header, sections, kinds=True, scripts=("figures.js", "page.js", "tokens.js"))


def _head(report: StudyReport, provenance: Provenance) -> Markup:
    done, all_runs = report.runs.get("done", 0), report.runs["asked"]
    others = [f"{number} {state}" for state, number in report.runs.items() if state not in ("asked", "done")]
    facts = [
        f"{done} of {all_runs} runs finished" + (f" ({', '.join(others)})" if others else ""),
        f"verdict by {report.metric}",
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
        element("p", element("a", f"{len(provenance.failed)} failed: their errors", href="#failed"))
        if provenance.failed
        else None,
    )


def _tables(study: StudyResults) -> Content:
    report = study.report
    view, colours = report.side_by_side, {label: style.colour for label, style in study.styles.items()}
    parts: list[Content] = [
        html_table(tables.variant_table(report), f"{report.study}: variants", colours),
        element("p", captions.table_caption(report), class_="caption"),
    ]
    if report.sequential is not None:
        table = html_table(tables.looks_table(report.sequential), "Seeds until decided")
        caption = element("p", captions.looks_caption(report), class_="caption")
        parts += [element("h3", "Seeds until decided"), table, caption]
    if view is not None:
        table = html_table(tables.side_by_side_table(view), "Side by side")
        caption = element("p", captions.side_by_side_caption(view), class_="caption")
        parts += [element("h3", "Side by side"), table, caption]
    parts += [element("p", line) for line in captions.published_sentences(report)]
    if report.published_rows:
        table = html_table(tables.published_table(report), "Published")
        parts += [element("h3", "Published results"), table, element("p", captions.PUBLISHED, class_="caption")]
    if report.families:
        table = html_table(tables.family_table(report), "By family of questions", colours)
        caption = element("p", captions.family_caption(report), class_="caption")
        parts += [element("h3", "By family of questions"), table, caption]
    if report.speed is not None:
        table = html_table(speed_table.speed_table(report.speed), speed_table.TITLE, colours)
        caption = element("p", speed_table.speed_caption(report), class_="caption")
        parts += [element("h3", speed_table.TITLE), table, caption]
    return parts


def _figures(groups: Sequence[FigureGroup]) -> Content:
    return [group.to_html() for group in groups]


def _missing(study: StudyResults) -> Content:
    return element("p", f"Not shown: {study.layers.why}.", class_="missing") if study.layers.why else None


def _tokens(study: StudyResults, provenance: Provenance) -> Content:
    """Write the words and patches of each variant's first run that recorded them."""
    store, runs = study.store, dict[str, RecordedRun]()
    image_loaders: dict[str, Callable[[str], ImageArray | Missing]] = {}
    reasons: dict[str, None] = {}
    for run, state in provenance.states.items():
        if state != "done" or run.label in runs:
            continue
        tokens = study.tokens.found.get(run)
        if tokens is None:
            reasons[study.tokens.missing[run].why] = None
        elif tokens.examples:
            config = store.config(run.run)
            key = run_dataset.describe_data(config)
            load_image = image_loaders.setdefault(
                key, partial(run_dataset.load_image, run_dataset.open_dataset(config))
            )
            runs[run.label] = RecordedRun(run.title, tokens, load_image)
    if not runs:
        why = "; ".join(reasons) or "no run is finished"
        return element("p", f"Words and patches cannot be shown: {why}.", class_="missing")
    telling = recordings.most_telling({run: layers for run, layers in study.layers.found.items() if run.label in runs})
    start = 0 if telling is None else list(runs).index(telling.label)
    return token_section(list(runs.values()), start=start)


def _disagreements(study: StudyResults) -> Content:
    split = study.report.metric.partition("/")[0]
    outcomes = frame.outcome_frame(study.store, study.plan, split=split)
    cells = {row["label"]: row["cell"] for row in study.plan["rows"]}
    details = []
    for first, second in study_figures.variant_pairs(study):
        pair = cells[first], cells[second]
        answers, texts = shared_examples(study.store, study.plan, pair, split)
        table = find_disagreements(outcomes, pair, (first, second), answers, texts, limit=MAX_DISAGREEMENTS)
        if table.rows:
            details.append(element("details", element("summary", f"{first} and {second}"), _disagreement_table(table)))
    return [element("h3", "Examples on which variants disagree"), details] if details else None


def _disagreement_table(table: DisagreementTable) -> Content:
    """Write the examples that differ most, with selectors by which page.js filters them, and buttons to turn pages."""
    first, second = table.names
    header = ("example", "family", "question", "right", f"{first} says", f"{second} says", first, second)
    lines = []
    for row in table.rows:
        direction = "first" if row.first > row.second else "second"
        says = (row.truth or "—", row.first_says or "—", row.second_says or "—")
        example = element("span", row.id, data_family=row.family, data_right=direction)
        lines.append((example, row.family, row.text or "—", *says, f"{row.first:.0%}", f"{row.second:.0%}"))
    shown = plain_table(header, lines, caption=f"{first} and {second}", text_columns=range(6))
    families = dict.fromkeys(row.family for row in table.rows)
    cut = f" The {len(lines)} of {table.differing} that differ most." if table.differing > len(lines) else ""
    return [
        element("p", f"{table.caption}{cut} The last two columns: seeds that are right.", class_="caption"),
        element(
            "div",
            _filter("family", "Family", {"": "all", **{name: name for name in families}}),
            _filter("right", "Right more often", {"": "either", "first": first, "second": second}),
            element("span", class_="page", aria_live="polite"),
            element("button", "previous", type="button", data_turn="-1"),
            element("button", "next", type="button", data_turn="1"),
            class_="choices filters",
        ),
        shown,
    ]


def _filter(key: str, label: str, options: Mapping[str, str]) -> Content:
    choices = [element("option", name, value=value) for value, name in options.items()]
    return element("label", label, " ", element("select", choices, data_filter=key))


def _provenance(plan: Mapping[str, Any], provenance: Provenance) -> Content:
    return [
        element("h3", "How the variants differ"),
        _differences(provenance),
        element("h3", "How to make it again"),
        _reproduction(plan, provenance),
        element("h3", "What ran it"),
        _environment(provenance),
        _failures(provenance.failed),
    ]


def _differences(provenance: Provenance) -> Content:
    started = [name for name, config in provenance.configurations.items() if config is not None]
    differing = provenance.differing
    lines = [
        (element("code", key), *(element("code", values[name]) for name in started))
        for key, values in differing.items()
    ]
    shown = plain_table(("setting", *started), lines, caption="Settings in which variants differ") if lines else None
    waiting = [name for name, config in provenance.configurations.items() if config is None]
    whole = [
        element(
            "details",
            element("summary", f"Whole configuration of {name}"),
            element("pre", json.dumps(config, indent=2, ensure_ascii=False)),
        )
        for name, config in provenance.configurations.items()
        if config is not None
    ]
    return [
        shown or element("p", "No setting differs between the variants that have been started.", class_="missing"),
        element("p", f"Not started yet: {', '.join(waiting)}.", class_="missing") if waiting else None,
        whole,
    ]


def _reproduction(plan: Mapping[str, Any], provenance: Provenance) -> Content:
    file, command = run_from_text(plan)
    cells: dict[tuple[str, str], list[str]] = {}
    for run, state in provenance.states.items():
        seed = str(run.seed) if state == "done" else f"{run.seed} ({state})"
        cells.setdefault((run.label, run.cell), []).append(seed)
    lines = [(label, element("code", cell), ", ".join(seeds)) for (label, cell), seeds in cells.items()]
    return [
        element(
            "p",
            "Save this study as ",
            element("code", file),
            " and run it: what is in the store already is not run again.",
        ),
        element("details", element("summary", file), element("pre", provenance.spec))
        if provenance.spec is not None
        else None,
        element("pre", f"{command}\nmtlab report {plan['study']} --format html"),
        element(
            "p",
            "The id of a variant's runs is made from all that can change their results: settings, data, weights, code. "
            "The same id is the same experiment.",
            class_="caption",
        ),
        plain_table(("variant", "id", "seeds"), lines, caption="Runs"),
    ]


def _environment(provenance: Provenance) -> Content:
    if not provenance.environment:
        return element("p", "No run has been started yet.", class_="missing")
    lines = []
    for name, values in provenance.environment.items():
        texts = [f"{value} ({count} runs)" if len(values) > 1 else value for value, count in values.most_common()]
        lines.append((name, ", ".join(texts)))
    mixed = [name for name, values in provenance.environment.items() if len(values) > 1]
    note = f"Runs differ in: {', '.join(mixed)}." if mixed else "The same for all runs that have been started."
    return [
        plain_table(("what", "value"), lines, caption="Machines and programs"),
        element("p", note, class_="caption"),
    ]


def _failures(failed: Sequence[FailedRun]) -> Content:
    if not failed:
        return None
    lines = [(each.run.title, each.kind, each.error, element("code", each.where)) for each in failed]
    return [
        element("h3", "Runs that failed", id="failed"),
        plain_table(("run", "kind", "error", "where"), lines, caption="Runs that failed"),
        element("p", "`mtlab run` starts them anew; their logs lie in their folders.", class_="caption"),
    ]
