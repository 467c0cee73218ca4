"""Reports of one study, or of several side by side, as text, SVG or a terminal's table."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtlab.files import json_text
from mtlab.report import side_by_side
from mtlab.report.formats import csv_table, latex, markdown
from mtlab.report.study_report import StudyReport

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_text(reports: Sequence[StudyReport], format_: str, *, by_family: bool = False) -> str:
    """Return reports as md, json, svg, tex or csv.

    Raises:
        UserError: several that cannot be compared side by side.

    """
    if format_ == "svg":
        return render_svg(reports, by_family=by_family)
    if len(reports) == 1:
        report = reports[0]
        if format_ == "json":
            return report.to_json()
        if format_ == "csv":
            return report.to_csv(by_family=by_family)
        return report.to_latex(by_family=by_family) if format_ == "tex" else report.to_markdown(by_family=by_family)
    studies = side_by_side.compare_studies(reports)
    if format_ == "json":
        data = {"format": 1, "studies": [report.to_dict() for report in reports]}
        return json_text(data)
    if format_ == "csv":
        return csv_table.write_csv([row for report in reports for row in csv_table.report_rows(report)])
    return latex.studies_latex(studies) if format_ == "tex" else markdown.studies_markdown(studies)


def render_terminal(reports: Sequence[StudyReport], width: int, *, by_family: bool = False) -> RenderableType:
    """Return the table of reports for a terminal of `width` columns."""
    from mtlab.report.formats import terminal

    if len(reports) == 1:
        return reports[0].to_table(width, by_family=by_family)
    return terminal.render_studies(side_by_side.compare_studies(reports), width)


def render_svg(reports: Sequence[StudyReport], *, by_family: bool = False) -> str:
    """Return the terminal's table as SVG."""
    from rich.console import Console

    console = Console(width=100, record=True, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(render_terminal(reports, console.width, by_family=by_family))
    names = " ".join(report.study for report in reports)
    svg = console.export_svg(title=f"mtlab report {names}" + (" --by family" if by_family else ""))
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # they would be fetched from elsewhere
