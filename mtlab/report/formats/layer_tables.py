"""The layers that the variants of a study draw on, as tables of text, CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtlab.files import json_text
from mtlab.recording.reader import MODALITIES
from mtlab.report.formats import csv_table, numbers
from mtlab.report.formats.markdown import join_parts, markdown_table
from mtlab.report.formats.tables import ReportTable, TableCell
from mtlab.report.layer_table import columns_of
from mtlab.units import format_span, in_points

if TYPE_CHECKING:
    from rich.console import RenderableType

PREVIOUS = "prev."
FORMATS = ("md", "csv", "json")
NOTHING = "No finished run has recorded its layers: `record.layers: true`, the default, records them in runs to come."
Rows = Sequence[Mapping[str, Any]]


def render_text(study: str, rows: Rows, metric: str, format_: str) -> str:
    """Write the layers of a study as md (means over seeds), or as csv or json (a row per run and source).

    Args:
        study: its name.
        rows: of `mtlab.report.layer_table.layer_rows`.
        metric: the validation metric that worths are differences of.
        format_: one of `FORMATS`.

    """
    if format_ == "csv":
        return csv_table.write_csv(rows, columns_of(rows))
    if format_ == "json":
        return json_text({"format": 1, "study": study, "metric": metric, "rows": rows})
    parts = [f"# {study}: layers"]
    for modality, table in modality_tables(rows, metric).items():
        parts += [f"## {modality}", markdown_table(table)]
    return join_parts([*parts, caption(rows, metric) if rows else NOTHING])


def render_terminal(study: str, rows: Rows, metric: str, width: int = 100) -> RenderableType:
    """Lay out the means over seeds for a terminal of `width` columns, a table for each modality."""
    from rich.console import Group
    from rich.text import Text

    from mtlab.report.formats.terminal import simple_table

    if not rows:
        return Text(NOTHING)
    parts: list[RenderableType] = [Text.assemble((study, "bold"), ": layers")]
    for modality, table in modality_tables(rows, metric).items():
        parts += [Text(), Text(modality, style="bold"), simple_table(table, width)]
    return Group(*parts, Text(), Text(caption(rows, metric), style="dim"))


def modality_tables(rows: Rows, metric: str) -> dict[str, ReportTable]:
    """Tabulate mean contributions over seeds: a line per variant and cross-modal layer, a column per level.

    Below each variant's layers stands what each level is worth, where that was measured.
    """
    tables: dict[str, ReportTable] = {}
    for modality in MODALITIES:
        own = [row for row in rows if row["modality"] == modality]
        levels = sorted({row["level"] for row in own if row["level"] is not None})
        lines = [
            line
            for variant in dict.fromkeys(row["variant"] for row in own)
            for line in _variant_lines([row for row in own if row["variant"] == variant], levels, metric)
        ]
        if lines:
            header = ("variant", "layer", *map(str, levels), PREVIOUS)
            tables[modality] = ReportTable(header, tuple(lines), frozenset({0, 1}))
    return tables


def caption(rows: Rows, metric: str) -> str:
    """Explain the numbers."""
    counts = [len({row["seed"] for row in rows if row["variant"] == name}) for name in _variants(rows)]
    seeds = f"n = {format_span(counts, 'seed')}"
    removed = [name for name in _variants(rows) if any(row["by_removal"] for row in rows if row["variant"] == name)]
    parts = [
        f"Contribution of each level, and of the previous states together ({PREVIOUS}); they sum to one.",
        f"Means over {seeds}, validation examples and their tokens.",
    ]
    if any(row["worth"] is not None for row in rows):
        points = ", in points" if in_points(metric) else ""
        parts.append(f"Worth: {metric} that is lost without the level in all layers{points}.")
    else:
        parts.append("Worth was not measured: `mtlab intervene RUN` does it.")
    if removed:
        parts.append(f"No sum, so by removal of each state: {', '.join(removed)}.")
    return " ".join(parts)


def _variants(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["variant"] for row in rows))


def _variant_lines(rows: Rows, levels: Sequence[int], metric: str) -> list[tuple[TableCell, ...]]:
    lines = []
    name = rows[0]["variant"]
    for layer in sorted({row["layer"] for row in rows}):
        own = [row for row in rows if row["layer"] == layer]
        means = [mean_known(row["contribution"] for row in own if row["level"] == level) for level in levels]
        places = {row["source"] for row in own if row["level"] is None}
        parts = [mean_known(row["contribution"] for row in own if row["source"] == place) for place in places]
        below = sum(part for part in parts if part is not None) if places else None
        top = max((mean for mean in means if mean is not None), default=None)
        cells = [TableCell("" if mean is None else f"{mean:.2f}", best=bool(mean) and mean == top) for mean in means]
        lines.append((TableCell(name), TableCell(f"layer {layer}"), *cells, TableCell(_two(below))))
        name = ""
    by_seed = {(row["level"], row["seed"]): row["worth"] for row in rows}  # the same in all layers
    worths = [mean_known(worth for (known, _), worth in by_seed.items() if known == level) for level in levels]
    if any(worth is not None for worth in worths):
        shown = ["" if worth is None else numbers.format_score(worth, metric, sign=True) for worth in worths]
        lines.append((TableCell(""), TableCell("worth"), *map(TableCell, shown), TableCell("")))
    return lines


def mean_known(values: Iterable[float | None]) -> float | None:
    """Average the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
