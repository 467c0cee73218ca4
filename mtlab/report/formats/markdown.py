"""A report as Markdown, for a repository, an issue or a paper's appendix."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mtlab.report.formats import captions, speed_table, tables

if TYPE_CHECKING:
    from mtlab.report.formats.tables import ReportTable, TableCell
    from mtlab.report.side_by_side import SideBySide
    from mtlab.report.study_report import StudyReport


def report_markdown(report: StudyReport) -> str:
    """Write title, table, caption, families, published results and notes."""
    parts = [f"# {report.study}"]
    if report.why:
        parts.append(report.why)
    parts += [markdown_table(tables.variant_table(report)), captions.table_caption(report)]
    if report.sequential is not None:
        table = markdown_table(tables.looks_table(report.sequential))
        parts += ["## Seeds until decided", table, captions.looks_caption(report)]
    view = report.side_by_side
    if view is not None:
        table = markdown_table(tables.side_by_side_table(view))
        parts += ["## Side by side", table, captions.side_by_side_caption(view)]
    parts += captions.published_sentences(report)
    if report.published_rows:
        parts += ["## Published results", markdown_table(tables.published_table(report)), captions.PUBLISHED]
    if report.families:
        parts += ["## By family", markdown_table(tables.family_table(report)), captions.family_caption(report)]
    if report.speed is not None:
        table = markdown_table(speed_table.speed_table(report.speed))
        parts += [f"## {speed_table.TITLE}", table, speed_table.speed_caption(report)]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    return join_parts(parts)


def family_markdown(report: StudyReport) -> str:
    """Write the table by family alone."""
    if not report.families:
        return f"# {report.study}\n\n{captions.NO_FAMILIES}\n"
    table = markdown_table(tables.family_table(report))
    return join_parts([f"# {report.study}: by family", table, captions.family_caption(report)])


def studies_markdown(view: SideBySide) -> str:
    """Write several studies as one table, each study's question and notes below."""
    parts = [f"# {' and '.join(report.study for report in view.reports)}"]
    parts += [f"**{report.study}**: {report.why}" for report in view.reports if report.why]
    parts += [markdown_table(tables.side_by_side_table(view)), captions.side_by_side_caption(view)]
    notes = [f"- {report.study}: {note}" for report in view.reports for note in report.notes]
    if notes:
        parts += ["## Notes", "\n".join(notes)]
    return join_parts(parts)


def join_parts(parts: Iterable[str]) -> str:
    """Join parts; a label such as `<none>` is no tag in sentences either. Code and links stay as they are."""
    tag = r"(`[^`\n]*`)|(?<!\\)<(?!https?://)(?=[A-Za-z/!?])"
    return re.sub(tag, lambda found: found[1] or r"\<", "\n\n".join(parts)) + "\n"


def markdown_table(table: ReportTable) -> str:
    """Write one table."""
    header = [_escape(name) for name in table.flat_header]
    rule = [":--" if index in table.text_columns else "--:" for index in range(len(header))]
    lines = [[_cell(cell, star=index == 0) for index, cell in enumerate(line)] for line in table.lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


def _cell(cell: TableCell, *, star: bool) -> str:
    if not cell.best:
        return _escape(cell.text)
    return f"**{_escape(cell.text)}**{' ★' if star else ''}"


def _escape(text: str) -> str:
    return re.sub(r"\||<(?=[A-Za-z/!?])", r"\\\g<0>", text)  # `<none>` is no tag, `p < 0.001` stays as it is
