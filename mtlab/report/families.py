"""Variants on each family of questions, by the same statistics as the whole table.

All comparisons of all families are corrected together: whoever looks at six families of seven variants looks at 36
comparisons, not at six times six.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlab.report.comparison import (
    Outcome,
    classify_outcome,
    correct_p_values,
    paired_difference,
    results_by_seed,
    seed_mean,
)
from mtlab.report.paired_examples import count_family_examples, split_by_cell
from mtlab.statistics import Difference, MeanInterval

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class FamilyRow:
    """One variant on one family of questions."""

    label: str
    cell: str
    mean: MeanInterval | None
    difference: Difference | None  #: to the variant that its row is compared with
    compare_to: str | None = None  #: cell
    examples: int | None = None  #: of the family; None where no outcomes were recorded
    p_corrected: float | None = None  #: over all families and variants
    outcome: Outcome = "not compared"


def compare_families(
    runs: pl.DataFrame, outcomes: pl.DataFrame, plan: Mapping[str, Any]
) -> dict[str, tuple[FamilyRow, ...]]:
    """Break the verdict metric down: family → variants in the plan's order, where there is more than one family.

    Args:
        runs: see `frame.run_frame`.
        outcomes: see `frame.outcome_frame`; may be empty.
        plan: the stored plan.

    """
    import polars as pl

    metric = plan["metrics"]["verdict"]
    cells = [row["cell"] for row in plan["rows"]]
    if any(run["cell"] not in cells for run in plan["runs"]):  # parents of other tasks have families of their own
        own = pl.col("cell").is_in(cells)
        runs, outcomes = runs.filter(own), outcomes.filter(own) if outcomes.height else outcomes
    runs = _with_families(runs, outcomes, metric)
    columns = sorted(name for name in runs.columns if name.startswith(f"{metric}/") and runs[name].count())
    if len(columns) < 2:
        return {}
    of_cell, sizes = split_by_cell(outcomes), count_family_examples(outcomes)
    found: dict[str, list[FamilyRow]] = {}
    for column in columns:
        family = column.removeprefix(f"{metric}/")
        results = {row["cell"]: results_by_seed(runs, row["cell"], column) for row in plan["rows"]}
        found[family] = []
        for row in plan["rows"]:
            mean, difference, other = seed_mean(results[row["cell"]], plan["alpha"]), None, row["compare_to"]
            if other is not None:
                difference = paired_difference(results, (row["cell"], other), runs, of_cell, column, plan)[0]
            outcome: Outcome = "baseline" if row["baseline"] else "not compared"
            found[family].append(
                FamilyRow(row["label"], row["cell"], mean, difference, other, sizes.get(family), outcome=outcome)
            )
    return _judged(found, plan)


def _judged(found: Mapping[str, list[FamilyRow]], plan: Mapping[str, Any]) -> dict[str, tuple[FamilyRow, ...]]:
    tested = [row.difference for rows in found.values() for row in rows if row.compare_to is not None]
    corrected = iter(correct_p_values(tested, plan["correct"]))
    judged = {}
    for family, rows in found.items():
        done = []
        for row in rows:
            if row.compare_to is None:
                done.append(row)
                continue
            p = next(corrected)
            outcome = classify_outcome(row.difference, p, plan["alpha"], plan["metrics"]["mode"])
            done.append(replace(row, p_corrected=p, outcome=outcome))
        judged[family] = tuple(done)
    return judged


def _with_families(runs: pl.DataFrame, outcomes: pl.DataFrame, metric: str) -> pl.DataFrame:
    """Add what tasks do not report themselves: means over each family's outcomes, if their mean is the metric."""
    import polars as pl

    split, _, name = metric.partition("/")
    if "/" in name or metric not in runs.columns or outcomes.is_empty():
        return runs
    own = outcomes.filter(pl.col("split") == split)
    whole = own.group_by("run").agg(pl.col("score").mean()).join(runs.select("run", metric), on="run")
    if whole.is_empty() or not np.allclose(whole["score"], whole[metric], rtol=0, atol=1e-6):
        return runs
    means = own.group_by("run", "family").agg(pl.col("score").mean())
    named = means.with_columns(pl.format("{}/{}", pl.lit(metric), "family").alias("family"))
    wide = named.pivot("family", index="run", values="score")
    missing = [column for column in wide.columns if column not in runs.columns]
    return runs.join(wide.select("run", *missing), on="run", how="left") if missing else runs
