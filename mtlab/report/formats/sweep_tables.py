"""A sweep's report for the terminal and as Markdown: the searches, then the comparison of the tuned variants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from mtlab.report.formats import markdown, numbers, terminal
from mtlab.report.formats.tables import ReportTable, text_table
from mtlab.report.sweep_report import BestTrial, SweepReport, SweepVariant

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_sweep(report: SweepReport, width: int = 100) -> RenderableType:
    """Lay a sweep out for a terminal of `width` columns."""
    title = Text.assemble((report.study, "bold"), f": {report.why}" if report.why else "")
    parts: list[RenderableType] = [title, Text(), terminal.simple_table(sweep_table(report), width)]
    best = [(row.label, row.best.settings) for row in report.rows if row.best is not None]
    if best:
        parts += [Text(), Text("settings of the best", style="dim")]
        parts += [Text.assemble((label, "cyan"), f": {settings}") for label, settings in best]
    if len(report.objectives) > 1:
        front = terminal.simple_table(front_table(report), width)
        parts += [Text(), Text("what no other trial of its variant beats", style="dim"), front]
    parts += [Text(), Text(sweep_caption(report), style="dim")]
    parts += [Text(f"! {note}", style="yellow") for note in report.notes]
    if report.final is not None:
        parts += [
            Text(),
            Text("Tuned against tuned", style="bold"),
            Text(),
            terminal.render_report(report.final, width),
        ]
    return Group(*parts)


def sweep_markdown(report: SweepReport) -> str:
    """Write a sweep as Markdown."""
    parts = [f"# {report.study}"]
    if report.why:
        parts.append(report.why)
    parts += [markdown.markdown_table(sweep_table(report)), sweep_caption(report), "## Settings of the best"]
    parts.append(markdown.markdown_table(best_settings_table(report)))
    if len(report.objectives) > 1:
        parts += ["## What no other trial of its variant beats", markdown.markdown_table(front_table(report))]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    if report.final is not None:
        final = markdown.report_markdown(report.final)
        parts += ["## Tuned against tuned", final.replace("\n#", "\n##").removeprefix("# ")]
    return markdown.join_parts(part.strip("\n") for part in parts)


def sweep_caption(report: SweepReport) -> str:
    """Say how the variants were searched, and what the best value means."""
    budget = f"{report.budget['trials']} trials"
    if report.budget.get("hours") is not None:
        budget += f", or {report.budget['hours']:g} training hours"
    first = report.objectives[0]
    sampler, pruner = report.sampler["name"], report.pruner["name"]
    sentences = [
        f"Budget of each variant: {budget}; sampler {sampler} (seed {report.sampler['seed']}), "
        + ("no pruner." if pruner == "none" else f"pruner {pruner}.")
    ]
    seeds = int(report.seeds["n"])
    over = f"{report.seeds['reduce']} over {seeds} seeds" if seeds > 1 else "one seed"
    sentences.append(f"Best: {over} of {first.metric}, of the trial that won by it, so it flatters; test says more.")
    if report.constraints:
        limits = ", ".join(_limit(metric, bound) for metric, bound in report.constraints.items())
        sentences.append(f"Only trials with {limits} may win.")
    return " ".join(sentences)


def sweep_table(report: SweepReport) -> ReportTable:
    """Lay out the searches: a line for each variant."""
    first, *others = (objective.metric for objective in report.objectives)
    header = ["variant", "trials", "done", "pruned", "failed", f"best {first}", *others, "of trial", "time"]
    return text_table(header, [_line(report, row) for row in report.rows], {0})


def best_settings_table(report: SweepReport) -> ReportTable:
    """Lay out the settings of each variant's best trial."""
    best = [(row.label, numbers.NONE if row.best is None else row.best.settings) for row in report.rows]
    return text_table(("variant", "settings"), best, {0, 1})


def front_table(report: SweepReport) -> ReportTable:
    """Lay out the trials that no other trial of their variant beats in all objectives."""
    header = ["variant", "trial", *(objective.metric for objective in report.objectives), "settings"]
    lines = [
        [row.label, str(trial.number), *_values(report, trial), trial.settings]
        for row in report.rows
        for trial in row.front
    ]
    return text_table(header, lines, {0, len(header) - 1})


def _line(report: SweepReport, row: SweepVariant) -> list[str]:
    best = row.best
    return [
        row.label,
        f"{row.ended}/{report.budget['trials']}",
        str(row.counts.get("done", 0)),
        str(row.counts.get("pruned", 0)),
        str(row.counts.get("failed", 0)),
        *([numbers.NONE] * len(report.objectives) if best is None else _values(report, best)),
        numbers.NONE if best is None else str(best.number),
        numbers.format_duration(row.seconds) if row.seconds else numbers.NONE,
    ]


def _values(report: SweepReport, trial: BestTrial) -> list[str]:
    pairs = zip(trial.values, report.objectives, strict=True)
    return [numbers.format_score(value, objective.metric) for value, objective in pairs]


def _limit(metric: str, bound: Mapping[str, float | None]) -> str:
    parts = [f"≤ {numbers.format_score(bound['max'], metric)}"] if bound.get("max") is not None else []
    parts += [f"≥ {numbers.format_score(bound['min'], metric)}"] if bound.get("min") is not None else []
    return f"{metric} {' and '.join(parts)}"
