"""Notes on the validity of a report: missing runs, few seeds, and runs made under different conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtlab.report.comparison.compare import ComparisonRow, compared_pairs, smallest_alpha
from mtlab.report.comparison.verdict import next_for_not_learned, not_learned
from mtlab.report.formats import numbers
from mtlab.runs.results import PLUGIN, THEN
from mtlab.statistics.power import smallest_detectable
from mtlab.statistics.seed_tests import lookup_test
from mtlab.units import format_span

if TYPE_CHECKING:
    import polars as pl

_STATES = {
    "failed": "failed",
    "running": "still running",
    "interrupted": "cut off, to be resumed",
    "blocked": "blocked by a failed parent",
    "new": "not started",
}
OF_CODE = "differences may come from the code"
#: column of the run frame that should not differ between finished runs → its name, and why it matters
_MIXED = {
    "mix/code": ("versions of the training code", OF_CODE),
    "mix/mtlab": ("versions of mtlab", OF_CODE),
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
    """Collect the notes of a report, most important first.

    Args:
        runs: see `frame.run_frame`, without parents.
        rows: see `comparison.compare`.
        plan: the stored plan.

    """
    untrained = not_learned(rows, plan["metrics"]["verdict"])
    advice = next_for_not_learned(rows, plan["study"])
    told = () if untrained is None or advice is None else (f"{untrained}. Next: {advice}",)
    notes = (
        *told,
        *_missing(runs, rows, plan),
        *_few_seeds(rows, plan),
        *_one_parent(rows, plan),
        *row_caveats(rows),
        *_mixed(runs),
    )
    return (*notes, *_old_code(runs, plan), *_cut_texts(runs))


def _missing(runs: pl.DataFrame, rows: Sequence[ComparisonRow], plan: Mapping[str, Any]) -> list[str]:
    import polars as pl

    labels = {row.cell: row.label for row in rows}
    unfinished = runs.filter(pl.col("state") != "done")
    notes = []
    if unfinished.height:
        notes.append(f"provisional: {runs.height - unfinished.height} of {runs.height} runs are finished")
    for state, what in _STATES.items():
        affected = unfinished.filter(state=state)
        if affected.is_empty():
            continue
        by_cell = [
            f"{labels[cell]} (seed{'s' if seeds.len() > 1 else ''} {', '.join(map(str, seeds.sort()))})"
            for (cell,), seeds in (
                (key, group["seed"]) for key, group in affected.group_by("cell", maintain_order=True)
            )
        ]
        shown = ", ".join(by_cell[:6]) + (f" and {len(by_cell) - 6} more variants" if len(by_cell) > 6 else "")
        warning = "; what is left may flatter these variants" if state == "failed" else ""
        notes.append(f"{what}: {shown}{warning}")
    metric = plan["metrics"]["verdict"]
    done = runs.filter(state="done")
    without = done.height - sum({row.cell: row.n for row in rows}.values())
    if without:
        notes.append(f"{without} finished runs have no (finite) {metric}")
    return notes


def _few_seeds(rows: Sequence[ComparisonRow], plan: Mapping[str, Any]) -> list[str]:
    """Say if the study has too few planned seeds, and what more seeds would detect; not where it asks for as needed."""
    planned = max((row.planned for row in rows), default=0)
    needed = lookup_test(plan["test"]).seeds
    if not any(row.compare_to for row in rows) or plan["sequential"]:
        return []
    if planned < needed:
        return [f"{format_span([planned], 'seed')} asked for: a test needs at least {needed}"]
    compared = [row.difference for row in rows if row.compared and row.difference is not None]
    spreads = [difference.spread for difference in compared if difference.error]
    if planned > 3 or not spreads:
        return []
    spreads.sort(key=lambda spread: spread[0])
    (middle, examples), metric = spreads[len(spreads) // 2], plan["metrics"]["verdict"]
    level = smallest_alpha(plan, len(compared_pairs(rows)))
    now, more = (smallest_detectable(middle, n, level, examples=examples) for n in (planned, 5))
    return [f"with {planned} seeds, {_unseen(now, metric)}; with 5 seeds of the same spread, {_unseen(more, metric)}"]


def _one_parent(rows: Sequence[ComparisonRow], plan: Mapping[str, Any]) -> list[str]:
    """Say whose seeds all start from one run, where the variant that they are compared with starts elsewhere."""
    starts: dict[str, list[tuple[str, ...]]] = {}
    for run in plan["runs"]:
        starts.setdefault(run["cell"], []).append(tuple(run["parents"]))
    shared = {cell for cell, parents in starts.items() if len(parents) > 1 and len(set(parents)) == 1 and parents[0]}
    labels = {row.cell: row.label for row in rows}
    found: dict[str, None] = {}
    for row in rows:
        if row.compared and row.compare_to is not None and set(starts[row.cell]) != set(starts[row.compare_to]):
            found |= {labels[cell]: None for cell in (row.cell, row.compare_to) if cell in shared}
    if not found:
        return []
    left_out = "intervals and p-values leave out that another pre-training would differ"
    mend = "leave out `seed` below `init_from`, and each seed has its own"
    return [f"{', '.join(found)}: all seeds start from one run, so {left_out}; {mend}"]


def row_caveats(rows: Sequence[ComparisonRow]) -> list[str]:
    """Return notes on single variants, each sentence once with all variants that it concerns."""
    about: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            about.setdefault(note, []).append(row.label)
    return [f"{', '.join(labels)}: {note}" for note, labels in about.items()]


def _mixed(runs: pl.DataFrame) -> list[str]:
    notes = []
    plugins = [column for column in runs.columns if column.startswith(f"mix/{PLUGIN} ")]
    wanted = _MIXED | {column: (f"versions of {column.removeprefix('mix/')}", OF_CODE) for column in plugins}
    for column, (what, consequence) in wanted.items():
        if column not in runs.columns:
            continue
        counts = runs[column].drop_nulls().value_counts(sort=True).rows()
        if len(counts) > 1 or any(THEN in str(value) for value, _ in counts):
            shown = ", ".join(f"{value} ({number})" for value, number in counts[:5])
            notes.append(f"runs of different {what}: {shown}; {consequence}")
    return notes


def _old_code(runs: pl.DataFrame, plan: Mapping[str, Any]) -> list[str]:
    if "mix/code" not in runs.columns:
        return []
    known = runs["mix/code"].drop_nulls().to_list()
    old = sum(code != plan["code"] for code in known)
    return [f"{old} of {len(known)} finished runs were made by other training code than the plan's"] if old else []


def _cut_texts(runs: pl.DataFrame) -> list[str]:
    """Say which texts were too long for the towers."""
    if "cut_texts" not in runs.columns:
        return []
    return [f"texts {note}" for note in sorted(set(runs["cut_texts"].drop_nulls()))]


def _unseen(smallest: float | None, metric: str) -> str:
    text = numbers.format_detectable(smallest, metric)
    if text.startswith(">"):
        return "any difference tends to go unseen"
    return f"differences below {text} tend to go unseen"
