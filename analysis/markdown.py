"""A report as Markdown, for a repository, an issue or a paper's appendix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mtlab.analysis import captions, words

if TYPE_CHECKING:
    from mtlab.analysis.report import Report


def markdown(report: Report) -> str:
    """Write title, table, caption, families, published results and notes."""
    parts = [f"# {report.study}"]
    if report.why:
        parts.append(report.why)
    parts += [_main(report), captions.caption(report)]
    parts += captions.published(report)
    if report.families:
        parts += ["## By family", _families(report), captions.FAMILIES]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    return "\n\n".join(parts) + "\n"


def _main(report: Report) -> str:
    metric, further = report.metric, report.further
    header = ["variant", "seeds", metric, "difference", "verdict", "detects", "params", "FLOPs", "time", *further]
    lines = []
    for row in report.rows:
        label = f"**{_escaped(row.label)}** ★" if row.best else _escaped(row.label)
        gap = row.difference
        lines.append(
            [
                label,
                f"{row.n}/{row.asked}",
                words.mean(row.mean, metric),
                words.NONE if gap is None else words.plus_minus(gap.difference, gap.interval, metric, sign=True),
                _escaped(row.verdict),
                words.score(row.smallest_detectable, metric),
                words.number(row.cost.trained_params),
                words.number(row.cost.flops),
                words.duration(row.cost.seconds),
                *(words.score(row.metrics[name], name) for name in further),
            ]
        )
    return _table(header, lines, left={0, 4})


def _families(report: Report) -> str:
    names = list(report.families)
    lines = [
        [_escaped(row.label), *(words.mean(report.families[name][index].mean, report.metric) for name in names)]
        for index, row in enumerate(report.rows)
    ]
    return _table(["variant", *names], lines, left={0})


def _table(header: Sequence[str], lines: Iterable[Sequence[str]], left: set[int]) -> str:
    rule = [":--" if index in left else "--:" for index in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
