r"""A report as LaTeX tables, ready to `\input` into a paper: needs booktabs and siunitx."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from mtlab.report.formats import captions, speed_table, tables
from mtlab.report.formats.latex_numbers import SETUP, number_column, split_number

if TYPE_CHECKING:
    from mtlab.report.formats.tables import ReportTable, TableCell
    from mtlab.report.side_by_side import SideBySide
    from mtlab.report.study_report import StudyReport

_COMMANDS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    "≠": r"$\neq$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",  # \textquotedbl needs the T1 encoding
    "±": r"$\pm$",
    "−": "$-$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "○": r"$^{\circ}$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "√": r"$\surd$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "\u00a0": "~",
}
_GREEK = "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"  #: letters that have a command of their own


def report_latex(report: StudyReport) -> str:
    """Write the main table, or blocks side by side where the length is an axis, then published results of rows."""
    view = report.side_by_side
    if view is not None:
        parts = [_side_by_side(view)]
    else:
        caption = captions.paper_caption(report) + " Params: trained ones. FLOPs: forward pass of one example."
        parts = [_float(tables.paper_table(report), caption, report.study)]
    if report.speed is not None:
        table, caption = speed_table.speed_table(report.speed), speed_table.speed_caption(report)
        parts.append(_float(table, caption, f"{report.study}-speed"))
    if report.published_rows:
        parts.append(_published(report))
    return _document(parts, report.notes)


def family_latex(report: StudyReport) -> str:
    """Write the table by family alone."""
    if not report.families:
        return f"% {captions.NO_FAMILIES}\n"
    table = _float(tables.family_table(report), captions.family_caption(report), f"{report.study}-families")
    return _document([table], report.notes)


def studies_latex(view: SideBySide) -> str:
    """Write several studies as one table."""
    notes = [f"{report.study}: {note}" for report in view.reports for note in report.notes]
    return _document([_side_by_side(view)], notes)


def escape(text: str) -> str:
    r"""Escape text for LaTeX; letters that pdfLaTeX lacks are replaced.

    >>> escape("a_b & 50% ± 1"), escape("naïve α")
    ('a\\_b \\& 50\\% $\\pm$ 1', 'naïve $\\alpha$')
    >>> escape("3 × 10⁵, ½ a"), escape("a ≠ b")
    ('3 $\\times$ 10$^{5}$, [U+00BD] a', 'a $\\neq$ b')
    """
    return "".join(_escape_letter(letter) for letter in " ".join(text.split()))


def _escape_letter(letter: str) -> str:
    if letter in _COMMANDS:
        return _COMMANDS[letter]
    if letter.isascii() or "À" <= letter <= "ſ":  # Latin letters with accents
        return letter if letter.isprintable() else " "
    if letter in _GREEK:
        name = unicodedata.name(letter).rpartition(" ")[2].replace("LAMDA", "LAMBDA")
        return rf"$\{name.lower() if letter.islower() else name.title()}$"
    kind, parts = unicodedata.decomposition(letter), unicodedata.normalize("NFKD", letter)
    if kind.startswith(("<super>", "<sub>")) and parts.isascii():
        return f"${'^' if kind.startswith('<super>') else '_'}{{{parts}}}$"
    plain = parts.encode("ascii", "ignore").decode()
    if kind.startswith("<fraction>") or "\u0338" in parts:  # one half is no 12, and ≮ no <
        plain = ""
    return "".join(_COMMANDS.get(each, each) for each in plain) if plain else f"[U+{ord(letter):04X}]"


def _side_by_side(view: SideBySide) -> str:
    """Write blocks side by side, without differences: with them, two blocks are wider than a page."""
    table = tables.side_by_side_table(view)
    table = table.select(at for at, name in enumerate(table.header) if name != "difference")
    name = "-".join(report.study for report in view.reports)
    return _float(table, captions.side_by_side_caption(view, differences=False), name)


def _published(report: StudyReport) -> str:
    table = tables.published_table(report)
    caption = f"{report.study}: results from the literature beside ours. {captions.PUBLISHED}"
    sources = list(dict.fromkeys(line[-1].text for line in table.lines))
    if len(sources) == 1:
        caption += f" Source: {sources[0]}."
        table = table.select(range(len(table.header) - 1))
    else:  # in full they would be wider than a page
        listed = ", ".join(f"[{number}] {source}" for number, source in enumerate(sources, 1))
        caption += f" Sources: {listed}."
        lines = [[*(cell.text for cell in line[:-1]), f"[{sources.index(line[-1].text) + 1}]"] for line in table.lines]
        table = tables.text_table(table.header, lines, table.text_columns)
    return _float(table, caption, f"{report.study}-published")


def _row(cells: Iterable[str]) -> str:
    line = " & ".join(cells)
    # LaTeX would take a [ or * that follows \\ or a rule as its option.
    return ("{}" if line.startswith(("[", "*")) else "") + line + r" \\"


def _group_lines(table: ReportTable) -> list[str]:
    """Write the names of groups of columns, and a rule below each."""
    if not table.groups:
        return []
    names, rules, column = [], [], 1
    for group, members in groupby(table.groups):
        width = len(list(members))
        names.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}" if group else "")
        if group:
            rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        column += width
    return [_row(names), "".join(rules)]


def _float(table: ReportTable, caption: str, label: str) -> str:
    columns, header, cells = [], [], []
    for at, name in enumerate(table.header):
        below = [line[at] for line in table.lines]
        measured = None if at in table.text_columns else number_column([cell.text for cell in below])
        numeric = measured is not None
        plain = "l" if at in table.text_columns else "r"
        columns.append(plain if measured is None else measured.specification(escape(measured.mark)))
        header.append(f"{{{escape(name)}}}" if numeric else escape(name))
        cells.append([_number(cell) if numeric else _text(cell) for cell in below])
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            *([f"  {SETUP}"] if any(each.startswith("S") for each in columns) else []),
            rf"  \caption{{{escape(caption)}}}",
            rf"  \label{{tab:{re.sub(r'[^A-Za-z0-9-]+', '-', label)}}}",
            rf"  \begin{{tabular}}{{{''.join(columns)}}}",
            r"    \toprule",
            *(f"    {line}" for line in (*_group_lines(table), _row(header))),
            r"    \midrule",
            *(f"    {_row(line)}" for line in zip(*cells, strict=True)),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )


def _text(cell: TableCell) -> str:
    return rf"\textbf{{{escape(cell.text)}}}" if cell.best else escape(cell.text)


def _number(cell: TableCell) -> str:
    """Write a cell of a column of numbers; siunitx leaves what is in braces as it is."""
    found = split_number(cell.text)
    if found is None:
        return f"{{{_text(cell)}}}"
    number, mark = found
    return (r"\boldmath " if cell.best else "") + number + (f" {escape(mark)}" if mark else "")


def _document(parts: Iterable[str], notes: Iterable[str]) -> str:
    """Join tables; notes become comments above them, for the author to decide on."""
    head = ["% needs \\usepackage{booktabs,siunitx}; written by mtlab report", *(f"% note: {note}" for note in notes)]
    return "\n".join(head) + "\n" + "\n\n".join(parts) + "\n"
