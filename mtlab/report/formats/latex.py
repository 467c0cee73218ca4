r"""A report as LaTeX tables, ready to `\input` into a paper: needs booktabs and nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mtlab.report.formats import captions, numbers, side_by_side

if TYPE_CHECKING:
    from mtlab.report.side_by_side import SideBySide
    from mtlab.report.study_report import StudyReport

_SPECIAL = {
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
    ">": "$>$",
    "|": "$|$",
    '"': "''",  # \textquotedbl needs the T1 encoding
    "±": r"$\pm$",
    "−": "$-$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "√": r"$\surd$",
    "²": r"$^2$",
    "³": r"$^3$",
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
    """Write the study's table, side by side where length is an axis, then what is published of its rows."""
    view = report.side_by_side
    parts = [_main(report) if view is None else side_by_side_latex(view)]
    if report.published_rows:
        parts.append(_published(report))
    return _document(parts, report.notes)


def family_latex(report: StudyReport) -> str:
    """Write the table by family alone."""
    if not report.families:
        return f"% {captions.NO_FAMILIES}\n"
    lines = []
    for index, row in enumerate(report.rows):
        found = [rows[index] for rows in report.families.values()]
        lines.append(
            [
                escape(row.label),
                *(escape(numbers.add_mark(numbers.format_mean(f.mean, report.metric), f.outcome)) for f in found),
            ]
        )
    header = ["variant", *report.families]
    made = _float([_header(header)], lines, captions.family_caption(report), f"{report.study}-families")
    return _document([made], report.notes)


def studies_latex(view: SideBySide) -> str:
    """Write several studies as one table."""
    notes = [f"{report.study}: {note}" for report in view.reports for note in report.notes]
    return _document([side_by_side_latex(view)], notes)


def side_by_side_latex(view: SideBySide) -> str:
    """Write blocks side by side, each below its name."""
    header, lines = side_by_side.grid(view)
    # Marks tell what differs; with differences too, two blocks are wider than a page.
    places = [place for place, (_, name) in enumerate(header) if name != "difference"]
    header, lines = [header[place] for place in places], [[line[place] for place in places] for line in lines]
    above, rules, column = [""], [], 2
    for block in view.blocks:
        width = sum(name == block.label for name, _ in header)
        above.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(block.label)}}}")
        rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        column += width
    head = [" & ".join(above) + r" \\", "".join(rules), _header([name for _, name in header])]
    written = [[_bold(escape(cell.text), cell.best) for cell in line] for line in lines]
    name = "-".join(report.study for report in view.reports)
    return _float(head, written, side_by_side.caption(view, differences=False), name)


def escape(text: str) -> str:
    r"""Write text so that LaTeX prints it as it is; what pdfLaTeX has no letter for is spelt out.

    >>> escape("a_b & 50% ± 1"), escape("naïve α")
    ('a\\_b \\& 50\\% $\\pm$ 1', 'naïve $\\alpha$')
    """
    return "".join(_letter(letter) for letter in " ".join(text.split()))


def _letter(letter: str) -> str:
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if letter.isascii() or "À" <= letter <= "ſ":  # Latin letters with accents
        return letter if letter.isprintable() else " "
    if letter in _GREEK:
        name = unicodedata.name(letter).rpartition(" ")[2].replace("LAMDA", "LAMBDA")
        return rf"$\{name.lower() if letter.islower() else name.title()}$"
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return "".join(_SPECIAL.get(each, each) for each in plain) if plain else f"[U+{ord(letter):04X}]"


def _main(report: StudyReport) -> str:
    metric = report.metric
    header = ["variant", metric.partition("/")[2]]
    uneven = len({row.n for row in report.rows}) > 1
    header += ["n"] * uneven + ["difference"] * bool(report.comparisons) + ["params", "FLOPs"]
    lines = []
    for row in report.rows:
        cells = [escape(row.label), escape(numbers.add_mark(numbers.format_mean(row.mean, metric), row.outcome))]
        if uneven:
            cells.append(str(row.n))
        if report.comparisons:
            gap = row.difference
            shown = (
                numbers.NONE
                if gap is None
                else numbers.format_interval(gap.difference, gap.interval, metric, sign=True)
            )
            cells.append(escape(shown))
        cells += [escape(numbers.format_count(row.cost.trained_params)), escape(numbers.format_count(row.cost.flops))]
        lines.append([_bold(cell, row.best and place < 2) for place, cell in enumerate(cells)])
    caption = captions.paper_caption(report) + " Params: trained ones. FLOPs: forward pass of one example."
    return _float([_header(header)], lines, caption, report.study)


def _published(report: StudyReport) -> str:
    header, lines = captions.beside(report)
    caption = f"{report.study}: results from the literature beside ours. {captions.PUBLISHED}"
    sources = list(dict.fromkeys(line[-1] for line in lines))
    if len(sources) == 1:
        caption += f" Source: {sources[0]}."
        header, lines = header[:-1], [line[:-1] for line in lines]
    else:  # in full they would be wider than a page
        told = ", ".join(f"[{number}] {source}" for number, source in enumerate(sources, 1))
        caption += f" Sources: {told}."
        lines = [[*line[:-1], f"[{sources.index(line[-1]) + 1}]"] for line in lines]
    written = [[escape(cell) for cell in line] for line in lines]
    return _float([_header(header)], written, caption, f"{report.study}-published", "llrrl"[: len(header)])


def _header(names: Sequence[str]) -> str:
    return " & ".join(escape(name) for name in names) + r" \\"


def _bold(text: str, best: bool) -> str:
    return rf"\textbf{{{text}}}" if best else text


def _float(
    head: Sequence[str], lines: Sequence[Sequence[str]], caption: str, label: str, columns: str | None = None
) -> str:
    columns = columns or "l" + "r" * (len(lines[0]) - 1)
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape(caption)}}}",
            rf"  \label{{tab:{re.sub(r'[^A-Za-z0-9-]+', '-', label)}}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            *(f"    {line}" for line in head),
            r"    \midrule",
            *(f"    {' & '.join(line)} \\\\" for line in lines),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )


def _document(parts: Iterable[str], notes: Iterable[str]) -> str:
    """Join tables; what a reader must know beside them goes into comments, for the author to judge."""
    head = ["% needs \\usepackage{booktabs}; written by mtlab report", *(f"% note: {note}" for note in notes)]
    return "\n".join(head) + "\n" + "\n\n".join(parts) + "\n"
