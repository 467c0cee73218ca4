r"""Columns of numbers in LaTeX tables, aligned by siunitx at the decimal point and at ±."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mtlab.report.formats.numbers import MARKS, NONE

#: What a table with such columns sets for itself: ± and + as they are written, bold where it is asked for.
SETUP = r"\sisetup{table-align-uncertainty, separate-uncertainty, retain-explicit-plus, reset-math-version = false}"
_NUMBER = re.compile(
    rf"(?P<sign>[+−]?)(?P<whole>\d+)(?:\.(?P<part>\d+))?(?: ± (?P<half>\d+)\.(?P<half_part>\d+))?"
    rf"(?: (?P<mark>[{''.join(MARKS.values())}]))?"
)


@dataclass(frozen=True)
class NumberColumn:
    """The width of a column of numbers, in digits."""

    whole: int  #: before the decimal point
    part: int  #: behind it
    uncertainty: int  #: of what stands behind ±; 0: nothing does
    signed: bool
    mark: str  #: one of `MARKS` that stands behind a number, or ""

    def specification(self, mark: str) -> str:
        """Return the column's type; its mark is given as LaTeX."""
        sign, uncertainty = "+" if self.signed else "", f"({self.uncertainty})" if self.uncertainty else ""
        space = f", table-space-text-post = {{{mark}}}" if mark else ""
        return f"S[table-format = {sign}{self.whole}.{self.part}{uncertainty}{space}]"


def number_column(texts: Sequence[str]) -> NumberColumn | None:
    """Measure a column of which most cells are decimal numbers; None for another.

    >>> number_column(["80.4 ± 2.6 †", "9.4 ± 12.6", "—"])
    NumberColumn(whole=2, part=1, uncertainty=3, signed=False, mark='†')
    >>> number_column(["404 k", "1.24 G"]) is None
    True
    """
    found = [match for text in texts if (match := _match(text)) is not None]
    if not any(match["part"] for match in found) or 2 * len(found) < sum(text != NONE for text in texts):
        return None
    return NumberColumn(
        max(len(match["whole"]) for match in found),
        max(len(match["part"] or "") for match in found),
        max(len((match["half"] + match["half_part"]).lstrip("0")) if match["half"] else 0 for match in found),
        any(match["sign"] for match in found),
        next((match["mark"] for match in found if match["mark"]), ""),
    )


def split_number(text: str) -> tuple[str, str] | None:
    r"""Write a number as siunitx reads it, and return it with its mark; None for other text.

    >>> split_number("−80.4 ± 2.6 †")
    ('-80.4 \\pm 2.6', '†')
    """
    found = _match(text)
    if found is None:
        return None
    half = rf" \pm {found['half']}.{found['half_part']}" if found["half"] else ""
    part = f".{found['part']}" if found["part"] else ""
    return f"{found['sign'].replace('−', '-')}{found['whole']}{part}{half}", found["mark"] or ""


def _match(text: str) -> re.Match[str] | None:
    found = _NUMBER.fullmatch(text)
    uneven = found is not None and found["half"] is not None and len(found["half_part"]) != len(found["part"] or "")
    return None if uneven else found
