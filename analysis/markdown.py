"""A report as Markdown, for a repository, an issue or a paper's appendix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mtlab.analysis import captions, side_by_side, words

if TYPE_CHECKING:
    from mtlab.analysis.blocks import SideBySide
    from mtlab.analysis.families import FamilyRow
    from mtlab.analysis.report import Report


def markdown(report: Report) -> str:
    """Write title, table, caption, families, published results and notes."""
    parts = [f"# {report.study}"]
    if report.why:
        parts.append(report.why)
    parts += [_main(report), captions.caption(report)]
    view = report.side_by_side
    if view is not None:
        parts += ["## Side by side", side_by_side_markdown(view), side_by_side.caption(view)]
    parts += captions.published(report)
    if report.published_rows:
        header, lines = captions.beside(report)
        escaped = [[_escaped(cell) for cell in line] for line in lines]
        parts += ["## Published results", _table(header, escaped, left={0, 1, 4}), captions.PUBLISHED]
    if report.families:
        parts += ["## By family", _families(report), captions.families(report)]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    return "\n\n".join(parts) + "\n"


def family_markdown(report: Report) -> str:
    """Write the table by family alone."""
    if not report.families:
        return f"# {report.study}\n\n{captions.NO_FAMILIES}\n"
    return f"# {report.study}: by family\n\n{_families(report)}\n\n{captions.families(report)}\n"


def together(view: SideBySide) -> str:
    """Write several studies as one table, each study's reason and notes below."""
    parts = [f"# {' and '.join(report.study for report in view.reports)}"]
    parts += [f"**{report.study}**: {report.why}" for report in view.reports if report.why]
    parts += [side_by_side_markdown(view), side_by_side.caption(view)]
    notes = [f"- {report.study}: {note}" for report in view.reports for note in report.notes]
    if notes:
        parts += ["## Notes", "\n".join(notes)]
    return "\n\n".join(parts) + "\n"


def side_by_side_markdown(view: SideBySide) -> str:
    """Write blocks side by side as one table."""
    header, lines = side_by_side.grid(view)
    names = [_escaped(f"{block}: {name}" if block else name) for block, name in header]
    return _table(names, [[_bold(_escaped(cell.text), cell.best) for cell in line] for line in lines], left={0})


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


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
                words.detectable(row.smallest_detectable, metric),
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
        [_escaped(row.label), *(_family(report.families[name][index], report.metric) for name in names)]
        for index, row in enumerate(report.rows)
    ]
    return _table(["variant", *names], lines, left={0})


def _family(row: FamilyRow, metric: str) -> str:
    return words.marked(words.mean(row.mean, metric), row.outcome)


def _table(header: Sequence[str], lines: Iterable[Sequence[str]], left: set[int]) -> str:
    rule = [":--" if index in left else "--:" for index in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
