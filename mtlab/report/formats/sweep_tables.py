"""A sweep's report for people: a table per sweep, on the terminal and in Markdown, then that of the tuned variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from mtlab.report.formats import numbers, terminal
from mtlab.report.formats.markdown import report_markdown
from mtlab.report.sweep_report import BestTrial, SweepReport, SweepVariant

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_sweep(report: SweepReport, width: int = 100) -> RenderableType:
    """Draw a sweep for a terminal of `width` columns."""
    title = Text.assemble((report.study, "bold"), f": {report.why}" if report.why else "")
    parts: list[RenderableType] = [title, Text(), _table(*sweep_table(report))]
    found = [row for row in report.rows if row.best is not None]
    if found:
        parts += [Text(), Text("settings of the best", style="dim")]
        parts += [Text.assemble((row.label, "cyan"), f": {row.best.settings}") for row in found if row.best is not None]
    if len(report.objectives) > 1:
        parts += [Text(), Text("what no other trial of its variant beats", style="dim"), _table(*front_table(report))]
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
    best = [[row.label, numbers.NONE if row.best is None else row.best.settings] for row in report.rows]
    parts += [_markdown_table(*sweep_table(report)), sweep_caption(report)]
    parts += ["## Settings of the best", _markdown_table(["variant", "settings"], best)]
    if len(report.objectives) > 1:
        parts += ["## What no other trial of its variant beats", _markdown_table(*front_table(report))]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    if report.final is not None:
        parts += ["## Tuned against tuned", report_markdown(report.final).replace("\n#", "\n##").removeprefix("# ")]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def sweep_caption(report: SweepReport) -> str:
    """Say how the variants were searched, and what the best value is and is not."""
    budget = f"{report.budget['trials']} trials"
    if report.budget.get("hours") is not None:
        budget += f", or {report.budget['hours']:g} training hours"
    first = report.objectives[0]
    sampler, pruner = report.sampler["name"], report.pruner["name"]
    words_ = [
        f"Budget of each variant: {budget}; sampler {sampler} (seed {report.sampler['seed']}), "
        + ("no pruner." if pruner == "none" else f"pruner {pruner}.")
    ]
    seeds = int(report.seeds["n"])
    over = f"{report.seeds['reduce']} over {seeds} seeds" if seeds > 1 else "one seed"
    words_.append(f"Best: {over} of {first.metric}, of the trial that won by it, so it flatters; test says more.")
    if report.constraints:
        limits = ", ".join(_limit(metric, bound) for metric, bound in report.constraints.items())
        words_.append(f"Only trials with {limits} may win.")
    return " ".join(words_)


_TEXTS = ("variant", "settings")  #: columns that hold text, and fold


def sweep_table(report: SweepReport) -> tuple[list[str], list[list[str]]]:
    """Give header and lines of the table: a line per variant."""
    first, *others = (objective.metric for objective in report.objectives)
    header = ["variant", "trials", "pruned", "failed", f"best {first}", *others, "of trial", "time"]
    return header, [_line(report, row) for row in report.rows]


def _line(report: SweepReport, row: SweepVariant) -> list[str]:
    best = row.best
    return [
        row.label,
        f"{row.ended}/{report.budget['trials']}",
        str(row.count("pruned")),
        str(row.count("failed")),
        *([numbers.NONE] * len(report.objectives) if best is None else _values(report, best)),
        numbers.NONE if best is None else str(best.number),
        numbers.format_duration(row.seconds) if row.seconds else numbers.NONE,
    ]


def _values(report: SweepReport, best: BestTrial) -> list[str]:
    return [
        numbers.format_score(value, each.metric) for value, each in zip(best.values, report.objectives, strict=True)
    ]


def front_table(report: SweepReport) -> tuple[list[str], list[list[str]]]:
    """Give header and lines of the trials that no other of their variant beats."""
    header = ["variant", "trial", *(objective.metric for objective in report.objectives), "settings"]
    lines = [
        [row.label, str(best.number), *_values(report, best), best.settings]
        for row in report.rows
        for best in row.front
    ]
    return header, lines


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for name in header:
        text = name in _TEXTS
        table.add_column(name, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def _markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = [":--" if name in _TEXTS else "--:" for name in header]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *escaped))


def _limit(metric: str, bound: Mapping[str, float | None]) -> str:
    parts = [f"≤ {numbers.format_score(bound['max'], metric)}"] if bound.get("max") is not None else []
    parts += [f"≥ {numbers.format_score(bound['min'], metric)}"] if bound.get("min") is not None else []
    return f"{metric} {' and '.join(parts)}"
