"""Blocks of the same variants as cells of one table, for whatever draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtlab.report.formats import captions, numbers

if TYPE_CHECKING:
    from mtlab.report.comparison import ComparisonRow
    from mtlab.report.side_by_side import ReportBlock, SideBySide


@dataclass(frozen=True)
class Cell:
    """What stands in one place of the table."""

    text: str
    best: bool = False


def grid(view: SideBySide) -> tuple[list[tuple[str, str]], list[list[Cell]]]:
    """Lay the blocks out.

    Returns:
        The header, block and column of each place, and a line per variant: its name, then for each block its mean with
        the mark of what was shown, its difference (where something is compared), its steps and its training FLOPs.

    """
    header = [("", "variant")]
    for block in view.blocks:
        header += [(block.label, name) for name in _columns(block, view.metric)]
    lines = []
    for variant in view.variants:
        line = [Cell(variant)]
        for block in view.blocks:
            row, columns = block.rows.get(variant), _columns(block, view.metric)
            line += _cells(row, block) if row is not None else [Cell(numbers.NONE)] * len(columns)
        lines.append(line)
    return header, lines


def caption(view: SideBySide, *, differences: bool = True) -> str:
    """Explain the table: what is the same in a block, and how each study was tested."""
    told = []
    for report in view.reports:
        name = f"{report.study}: " if len(view.reports) > 1 else ""
        told.append(name + captions.paper_caption(report, blocks=len(view.blocks), differences=differences))
    apart = " Each study is tested and corrected by itself." if len(view.reports) > 1 else ""
    return " ".join(told) + apart + " FLOPs: of one run's whole training, as planned."


def _columns(block: ReportBlock, metric: str) -> list[str]:
    difference = ["difference"] if any(row.compare_to is not None for row in block.rows.values()) else []
    return [metric.partition("/")[2], *difference, "steps", "FLOPs"]


def _cells(row: ComparisonRow, block: ReportBlock) -> list[Cell]:
    metric, gap = block.report.metric, row.difference
    cells = [Cell(numbers.add_mark(numbers.format_mean(row.mean, metric), row.outcome), row.best)]
    if any(each.compare_to is not None for each in block.rows.values()):
        shown = numbers.NONE
        if gap is not None:
            shown = numbers.format_interval(gap.difference, gap.interval, metric, sign=True)
        cells.append(Cell(shown))
    steps = numbers.NONE if row.cost.steps is None else f"{row.cost.steps:.0f}"
    return [*cells, Cell(steps), Cell(numbers.format_count(row.cost.training_flops))]
