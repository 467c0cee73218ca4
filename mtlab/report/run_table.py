"""The runs of a study, one a line, as a table of text, CSV and JSON: what a published number is traced to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mtlab.files import json_text
from mtlab.report.formats import numbers
from mtlab.report.formats.tables import ReportTable, TableCell

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType

FORMATS = ("csv", "json")


def render_text(runs: pl.DataFrame, format_: str) -> str:
    """Write the runs as one of `FORMATS`, with all columns of `mtlab.frame`."""
    if format_ == "csv":
        return runs.write_csv()
    return json_text(runs.to_dicts())


def render_terminal(runs: pl.DataFrame, plan: Mapping[str, Any], width: int = 100) -> RenderableType:
    """Lay the runs of a plan out for a terminal of `width` columns: the metrics of the study, area and time."""
    from rich.console import Group
    from rich.text import Text

    from mtlab.report.formats.terminal import simple_table

    title = Text.assemble((plan["study"], "bold"), f": {len(runs)} runs")
    return Group(title, Text(), simple_table(run_table(runs, plan), width))


def run_table(runs: pl.DataFrame, plan: Mapping[str, Any]) -> ReportTable:
    """Lay out a line for each run, in the plan's order."""
    choose = plan["metrics"]["choose"]
    metrics = [*dict.fromkeys((choose, plan["metrics"]["verdict"]))]
    lines = []
    for row in runs.iter_rows(named=True):
        texts = (
            row["label"],
            row["state"],
            *(_score(row.get(metric), metric) for metric in metrics),
            _score(row.get("area"), choose),
            "—" if row.get("best_step") is None else str(row["best_step"]),
            numbers.format_duration(row.get("cost/seconds")),
        )
        lines.append((TableCell(row["run"]), *map(TableCell, texts)))
    header = ("run", "variant", "state", *metrics, "area", "best step", "time")
    return ReportTable(header, tuple(lines), frozenset({0, 1, 2}))


def _score(value: float | None, metric: str) -> str:
    return "—" if value is None else numbers.format_score(value, metric)
