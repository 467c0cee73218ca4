"""What a reader must know before believing a table: runs that are missing, and runs that were made differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtlab.report.comparison import ComparisonRow, hardest_level
from mtlab.report.formats import numbers
from mtlab.statistics import lookup_test, smallest_detectable

if TYPE_CHECKING:
    import polars as pl

_STATES = {
    "failed": "failed",
    "running": "still running",
    "interrupted": "cut off, to be resumed",
    "blocked": "blocked by a failed parent",
    "new": "not started",
}
#: what must be told if it differs between finished runs: column of the frame → what was mixed, and why it matters
_MIXES = {
    "mix/code": ("versions of the training code", "differences may come from the code"),
    "mix/mtlab": ("versions of mtlab", "differences may come from the code"),
    "mix/torch": ("versions of torch", "last bits may differ"),
    "mix/device": ("devices", "times are not comparable, last bits may differ"),
    "mix/processes": (
        "numbers of processes per run",
        "times are not comparable, dropout and noise are drawn otherwise",
    ),
    "mix/threads": ("numbers of threads", "times are not comparable, last bits may differ"),
    "mix/host": ("machines", "times are not comparable"),
}


def collect_caveats(runs: pl.DataFrame, rows: Sequence[ComparisonRow], plan: Mapping[str, Any]) -> tuple[str, ...]:
    """Collect everything that must be said beside the table, most important first.

    Args:
        runs: see `frame.run_frame`.
        rows: see `comparison.compare`.
        plan: the stored plan.

    """
    own = runs.filter(_of(rows))
    told = (*_missing(own, rows, plan), *_few(rows, plan), *row_caveats(rows), *_mixed(own), *_old_code(own, plan))
    return (*told, *_cut(own))


def _of(rows: Sequence[ComparisonRow]) -> pl.Expr:
    import polars as pl

    return pl.col("cell").is_in([row.cell for row in rows])


def _missing(runs: pl.DataFrame, rows: Sequence[ComparisonRow], plan: Mapping[str, Any]) -> list[str]:
    import polars as pl

    labels = {row.cell: row.label for row in rows}
    unfinished = runs.filter(pl.col("state") != "done")
    told = []
    if unfinished.height:
        told.append(f"provisional: {runs.height - unfinished.height} of {runs.height} runs are finished")
    for state, what in _STATES.items():
        there = unfinished.filter(state=state)
        if there.is_empty():
            continue
        by_cell = [
            f"{labels[cell]} (seed{'s' if seeds.len() > 1 else ''} {', '.join(map(str, seeds.sort()))})"
            for (cell,), seeds in ((key, group["seed"]) for key, group in there.group_by("cell", maintain_order=True))
        ]
        shown = ", ".join(by_cell[:6]) + (f" and {len(by_cell) - 6} more variants" if len(by_cell) > 6 else "")
        warning = "; what is left may flatter these variants" if state == "failed" else ""
        told.append(f"{what}: {shown}{warning}")
    metric = plan["metrics"]["verdict"]
    done = runs.filter(state="done")
    without = done.height - sum({row.cell: row.n for row in rows}.values())
    if without:
        told.append(f"{without} finished runs have no (finite) {metric}")
    return told


def _few(rows: Sequence[ComparisonRow], plan: Mapping[str, Any]) -> list[str]:
    """Tell when the study as planned can show little, and what more seeds would bring."""
    asked = max((row.asked for row in rows), default=0)
    needed = lookup_test(plan["test"]).seeds
    if not any(row.compare_to for row in rows):
        return []
    if asked < needed:
        return [f"{asked} seed{'s' if asked > 1 else ''} asked for: {plan['test']} needs at least {needed}"]
    spreads = sorted(
        row.difference.error * row.difference.n**0.5
        for row in rows
        if row.difference is not None and row.difference.error
    )
    if asked > 3 or not spreads:
        return []
    middle, metric = spreads[len(spreads) // 2], plan["metrics"]["verdict"]
    level = hardest_level(plan, sum(row.compare_to is not None for row in rows))
    now, more = (smallest_detectable(middle, n, level) for n in (asked, 5))
    return [f"with {asked} seeds, {_unseen(now, metric)}; with 5 seeds of the same spread, {_unseen(more, metric)}"]


def row_caveats(rows: Sequence[ComparisonRow]) -> list[str]:
    """Tell what concerns single variants, each sentence once."""
    about: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            about.setdefault(note, []).append(row.label)
    return [f"{', '.join(labels)}: {note}" for note, labels in about.items()]


def _mixed(runs: pl.DataFrame) -> list[str]:
    told = []
    for column, (what, consequence) in _MIXES.items():
        if column not in runs.columns:
            continue
        counts = runs[column].drop_nulls().value_counts(sort=True).rows()
        if len(counts) > 1:
            shown = ", ".join(f"{value} ({number})" for value, number in counts[:5])
            told.append(f"runs of different {what}: {shown}; {consequence}")
    return told


def _old_code(runs: pl.DataFrame, plan: Mapping[str, Any]) -> list[str]:
    if "mix/code" not in runs.columns or not plan.get("code"):
        return []
    known = runs["mix/code"].drop_nulls()
    old = int((known != plan["code"]).sum())
    return [f"{old} of {known.len()} finished runs were made by other training code than the plan's"] if old else []


def _cut(runs: pl.DataFrame) -> list[str]:
    """Tell which texts were too long for the towers."""
    if "cut_texts" not in runs.columns:
        return []
    return [f"texts {told}" for told in sorted(set(runs["cut_texts"].drop_nulls()))]


def _unseen(smallest: float | None, metric: str) -> str:
    found = numbers.format_detectable(smallest, metric)
    return (
        "any difference tends to go unseen" if found.startswith(">") else f"differences below {found} tend to go unseen"
    )
