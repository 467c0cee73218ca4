"""A report as Markdown, for a repository, an issue or a paper's appendix."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from mtlab.report.formats import captions, side_by_side, tables

if TYPE_CHECKING:
    from mtlab.report.formats.tables import ReportTable
    from mtlab.report.side_by_side import SideBySide
    from mtlab.report.study_report import StudyReport


def report_markdown(report: StudyReport) -> str:
    """Write title, table, caption, families, published results and notes."""
    parts = [f"# {report.study}"]
    if report.why:
        parts.append(report.why)
    parts += [_main(report), captions.table_caption(report)]
    view = report.side_by_side
    if view is not None:
        parts += ["## Side by side", side_by_side_markdown(view), side_by_side.caption(view)]
    parts += captions.published_sentences(report)
    if report.published_rows:
        header, lines = captions.beside(report)
        escaped = [[_escaped(cell) for cell in line] for line in lines]
        parts += ["## Published results", _table(header, escaped, left={0, 1, 4}), captions.PUBLISHED]
    if report.families:
        parts += ["## By family", _families(report), captions.family_caption(report)]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    return "\n\n".join(parts) + "\n"


def family_markdown(report: StudyReport) -> str:
    """Write the table by family alone."""
    if not report.families:
        return f"# {report.study}\n\n{captions.NO_FAMILIES}\n"
    return f"# {report.study}: by family\n\n{_families(report)}\n\n{captions.family_caption(report)}\n"


def studies_markdown(view: SideBySide) -> str:
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


def _main(report: StudyReport) -> str:
    return _grid(tables.variant_table(report))


def _families(report: StudyReport) -> str:
    return _grid(tables.family_table(report))


def _grid(made: ReportTable) -> str:
    lines = [
        [f"**{_escaped(cell.text)}** ★" if cell.best else _escaped(cell.text) for cell in line] for line in made.lines
    ]
    return _table(made.header, lines, made.left)


def _table(header: Sequence[str], lines: Iterable[Sequence[str]], left: Collection[int]) -> str:
    rule = [":--" if index in left else "--:" for index in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
