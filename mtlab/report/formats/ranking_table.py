"""A ranking as a table of text, Markdown, CSV and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtlab.files import json_text
from mtlab.report.formats import csv_table, numbers
from mtlab.report.formats.markdown import join_parts, markdown_table
from mtlab.report.formats.tables import ReportTable, TableCell
from mtlab.statistics.seed_tests import lookup_test
from mtlab.units import in_points

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mtlab.report.comparison.ranking import Ranking

FORMATS = ("md", "csv", "json")
COLUMNS = (
    "place", "variant", "cell", "n", "mean", "low", "high", "group", "trained_params", "flops", "seconds",
)  # fmt: skip


def render_text(ranking: Ranking, format_: str) -> str:
    """Write a ranking as one of `FORMATS`."""
    if format_ == "csv":
        return csv_table.write_csv(_places(ranking), COLUMNS)
    if format_ == "json":
        return json_text(to_dict(ranking))
    parts = [f"# {ranking.study}: ranking", markdown_table(ranking_table(ranking)), caption(ranking)]
    if ranking.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in ranking.notes)]
    return join_parts(parts)


def render_terminal(ranking: Ranking, width: int = 100) -> RenderableType:
    """Lay the ranking out for a terminal of `width` columns."""
    from rich.console import Group
    from rich.text import Text

    from mtlab.report.formats.terminal import simple_table, warnings

    title = Text.assemble((ranking.study, "bold"), ": ranking")
    table, below = simple_table(ranking_table(ranking), width), Text(caption(ranking), style="dim")
    notes = [Text(), *warnings(ranking.notes)] if ranking.notes else []
    return Group(title, Text(), table, Text(), below, *notes)


def ranking_table(ranking: Ranking) -> ReportTable:
    """Lay out a line for each variant, best first."""
    lines = []
    for place, one in enumerate(ranking.variants):
        row = one.row
        texts = (
            numbers.format_mean(row.mean, ranking.metric),
            one.letters,
            numbers.format_count(row.cost.trained_params),
            numbers.format_count(row.cost.flops),
            numbers.format_duration(row.cost.seconds),
        )
        lines.append((TableCell(row.label, best=place == 0), *map(TableCell, texts)))
    return ReportTable(("variant", ranking.metric, "group", "params", "FLOPs", "time"), tuple(lines), frozenset({0, 2}))


def caption(ranking: Ranking) -> str:
    """Explain the ranking: what its numbers and letters say, and what they do not."""
    if not ranking.variants:
        return " ".join(["No variant can be ranked yet.", *_left_out(ranking)])
    shared = ranking.variants[0].row.results
    seeds = f"n = {len(shared)} seeds"
    if len(shared) < max(one.row.planned for one in ranking.variants):
        seeds += f" that all have ({', '.join(map(str, shared))})"
    points = ", in points" if in_points(ranking.metric) else ""
    level, pairs = numbers.format_level(ranking.alpha), len(ranking.pairs)
    corrected = "not corrected"
    if pairs > 1 and ranking.correct == "holm":
        corrected = f"corrected by Holm for all {pairs} pairs"
    tested = f"{lookup_test(ranking.test).words}, p ≤ {ranking.alpha:g}, {corrected}"
    text = (
        f"{ranking.metric}{points}: mean and {level} interval, {seeds}, best first. Variants that share a letter were "
        f"not shown to be different ({tested}). That is no evidence that they are alike."
    )
    return " ".join([text, *_left_out(ranking)])


def to_dict(ranking: Ranking) -> dict[str, Any]:
    """Return plain data with the stable keys of docs/report-json.md."""
    return {
        "format": 1,
        "study": ranking.study,
        "metric": ranking.metric,
        "test": ranking.test,
        "alpha": ranking.alpha,
        "correct": ranking.correct,
        "ranking": _places(ranking),
        "pairs": [
            {
                "better": pair.better,
                "worse": pair.worse,
                "n": pair.difference.n,
                "difference": pair.difference.difference,
                "p": pair.difference.p,
                "p_corrected": pair.p_corrected,
                "different": pair.different,
            }
            for pair in ranking.pairs
        ],
        "left_out": dict(ranking.left_out),
        "notes": list(ranking.notes),
    }


def _places(ranking: Ranking) -> list[dict[str, Any]]:
    """Return a row of `COLUMNS` for each variant, best first."""
    places = []
    for place, one in enumerate(ranking.variants, 1):
        row = one.row
        assert row.mean is not None
        low, high = row.mean.interval or (None, None)
        places.append(
            {
                "place": place,
                "variant": row.label,
                "cell": row.cell,
                "n": row.n,
                "mean": row.mean.mean,
                "low": low,
                "high": high,
                "group": one.letters,
                "trained_params": row.cost.trained_params,
                "flops": row.cost.flops,
                "seconds": row.cost.seconds,
            }
        )
    return places


def _left_out(ranking: Ranking) -> list[str]:
    named = ", ".join(f"{label} ({why})" for label, why in ranking.left_out.items())
    return [f"Without a place: {named}."] if named else []
