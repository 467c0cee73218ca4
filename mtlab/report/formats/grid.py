"""A report's tables as cells, for whatever writes them: Markdown, HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtlab.report.formats import numbers

if TYPE_CHECKING:
    from mtlab.report.comparison import Row
    from mtlab.report.report import Report


@dataclass(frozen=True)
class Cell:
    """What stands in one place."""

    text: str
    best: bool = False
    outcome: str = ""  #: of the comparison that the cell tells of


@dataclass(frozen=True)
class Grid:
    """A table: all columns but those of `left` hold numbers."""

    header: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    left: frozenset[int]


def main(report: Report) -> Grid:
    """Lay out the table of variants."""
    head = ("variant", "seeds", report.metric, "difference", "verdict", "detects", "params", "FLOPs", "time")
    lines = tuple(_line(report, row) for row in report.rows)
    return Grid((*head, *report.further), lines, frozenset({0, 4}))


def families(report: Report) -> Grid:
    """Lay out the table by family of questions."""
    names = tuple(report.families)
    lines = tuple(
        (Cell(row.label), *(_family(report, name, index) for name in names)) for index, row in enumerate(report.rows)
    )
    return Grid(("variant", *names), lines, frozenset({0}))


def _line(report: Report, row: Row) -> tuple[Cell, ...]:
    gap, metric = row.difference, report.metric
    shown = numbers.NONE if gap is None else numbers.plus_minus(gap.difference, gap.interval, metric, sign=True)
    texts = (
        numbers.detectable(row.smallest_detectable, metric),
        numbers.number(row.cost.trained_params),
        numbers.number(row.cost.flops),
        numbers.duration(row.cost.seconds),
        *(numbers.score(row.metrics[name], name) for name in report.further),
    )
    return (
        Cell(row.label, best=row.best),
        Cell(f"{row.n}/{row.asked}"),
        Cell(numbers.mean(row.mean, metric)),
        Cell(shown),
        Cell(row.verdict, outcome=row.outcome),
        *map(Cell, texts),
    )


def _family(report: Report, name: str, index: int) -> Cell:
    row = report.families[name][index]
    return Cell(numbers.marked(numbers.mean(row.mean, report.metric), row.outcome), outcome=row.outcome)
