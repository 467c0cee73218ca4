"""Compares variants on each family of questions, by the same statistics as the main table.

The comparisons of all families are corrected together: six families of seven variants are 36 comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlab.report.comparison.compare import (
    WITHHELD,
    ComparisonVerdict,
    classify_outcome,
    correct_p_values,
    paired_difference,
)
from mtlab.report.comparison.paired_examples import count_family_examples
from mtlab.report.comparison.seed_results import (
    blind_floors,
    given_floor,
    judge_variants,
    results_by_cell,
    seed_mean,
)
from mtlab.report.sequential.summary import count_looks, seen_results
from mtlab.runs.store import metric_direction
from mtlab.statistics.intervals import MeanInterval
from mtlab.statistics.learning import Learning
from mtlab.statistics.paired import Difference
from mtlab.studies.looks import Looks

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
    learning: Learning | None = None
    outcome: ComparisonVerdict = "not compared"

    @property
    def compared(self) -> bool:
        """Whether it is compared with a baseline, see `ComparisonRow.compared`."""
        return self.compare_to is not None and self.outcome not in WITHHELD


def compare_families(
    runs: pl.DataFrame, outcomes: Mapping[str, pl.DataFrame], plan: Mapping[str, Any], looks: Looks | None = None
) -> dict[str, tuple[FamilyRow, ...]]:
    """Compare variants on each family: family → variants in the plan's order; empty with fewer than two families.

    Args:
        runs: see `frame.run_frame`, without parents: those of other tasks have families of their own.
        outcomes: see `frame.outcomes_by_cell`; may be empty.
        plan: the stored plan.
        looks: those of the study, where it has as many seeds as it needs.

    """
    metric = plan["metrics"]["verdict"]
    runs = add_family_means(runs, outcomes, metric)
    columns = sorted(name for name in runs.columns if name.startswith(f"{metric}/") and runs[name].count())
    if len(columns) < 2:
        return {}
    sizes = count_family_examples(outcomes)
    overall = _judge_overall(runs, plan)
    tested: dict[str, list[FamilyRow]] = {}
    for column in columns:
        family = column.removeprefix(f"{metric}/")
        results = results_by_cell(runs, plan, column)
        judged = judge_variants(runs, plan, column, blind_floors(plan, results))
        tested[family] = []
        for row in plan["rows"]:
            cell, other, difference, against = row["cell"], row["compare_to"], None, None
            if other is not None and not all(_may_have(runs, each, metric, column) for each in (cell, other)):
                other = None
            if other is not None:
                pair = cell, other
                seen = seen_results(results, pair, plan, looks)
                if (judged_other := judged.get(other)) is not None:
                    against = judged_other.among(seen.get(other, {}))
                difference, _ = paired_difference(seen, pair, runs, outcomes, column, plan)
                difference = count_looks(difference, None if looks is None else looks.last.get(pair), plan)
            learning = judged[cell]
            mean = seed_mean(results[cell], plan["alpha"], column, learning)
            outcome = (
                _withheld(row, learning, against)
                or _withheld(row, overall.get(cell), overall.get(other or cell))
                or ("baseline" if row["baseline"] else "not compared")
            )
            if difference is not None and outcome in WITHHELD:
                difference = replace(difference, interval=None, p=None)
            tested[family].append(
                FamilyRow(
                    row["label"], cell, mean, difference, other, sizes.get(family), learning=learning, outcome=outcome
                )
            )
    return _classify(tested, plan)


def _judge_overall(runs: pl.DataFrame, plan: Mapping[str, Any]) -> Mapping[str, Learning | None]:
    """Judge by the floor that a study's file gives, which is of all families together; empty if it gives none."""
    given, metric = given_floor(plan), plan["metrics"]["verdict"]
    if given is None:
        return {}
    return judge_variants(runs, plan, metric, blind_floors(plan, results_by_cell(runs, plan, metric), given))


def _may_have(runs: pl.DataFrame, cell: str, metric: str, column: str) -> bool:
    """Return whether a variant has a family, or may have it: none of its runs is finished."""
    own = runs.filter(cell=cell)
    return own[column].count() > 0 or own[metric].count() == 0


def _withheld(row: Mapping[str, Any], learning: Learning | None, baseline: Learning | None) -> ComparisonVerdict | None:
    """Return why a variant is not compared on a family; None: it is."""
    if row["blind"]:
        return "blind"
    if learning is not None and not learning.complete:
        return "not learned"
    return "baseline not learned" if baseline is not None and not baseline.complete else None


def _classify(tested: Mapping[str, list[FamilyRow]], plan: Mapping[str, Any]) -> dict[str, tuple[FamilyRow, ...]]:
    """Correct the p-values over all families together, and classify the differences by them."""
    compared = {
        (family, row.cell, row.compare_to): row.difference
        for family, rows in tested.items()
        for row in rows
        if row.compared
    }
    mode = metric_direction(plan, plan["metrics"]["verdict"])
    p_values = [None if each is None else each.p for each in compared.values()]
    corrected = dict(zip(compared, correct_p_values([*compared], p_values, plan["correct"]), strict=True))

    def classify(family: str, row: FamilyRow) -> FamilyRow:
        if not row.compared:
            return row
        p = corrected[family, row.cell, row.compare_to]
        outcome = classify_outcome(row.difference, p, plan["alpha"], mode)
        return replace(row, p_corrected=p, outcome=outcome)

    return {family: tuple(classify(family, row) for row in rows) for family, rows in tested.items()}


def add_family_means(runs: pl.DataFrame, outcomes: Mapping[str, pl.DataFrame], metric: str) -> pl.DataFrame:
    """Add means over the outcomes of each family where the task reports none.

    They are added only if the mean over all outcomes is the metric.
    """
    import polars as pl

    split, _, name = metric.partition("/")
    if "/" in name or metric not in runs.columns or not outcomes:
        return runs
    own = [rows.filter(pl.col("split") == split) for rows in outcomes.values()]
    whole = _means(own, "run").join(runs.select("run", metric), on="run")
    if whole.is_empty() or not np.allclose(whole["score"], whole[metric], rtol=0, atol=1e-6):
        return runs
    named = _means(own, "run", "family").with_columns(pl.format("{}/{}", pl.lit(metric), "family").alias("family"))
    wide = named.pivot("family", index="run", values="score")
    missing = [column for column in wide.columns if column not in runs.columns]
    return runs.join(wide.select("run", *missing), on="run", how="left") if missing else runs


def _means(outcomes: Sequence[pl.DataFrame], *by: str) -> pl.DataFrame:
    import polars as pl

    return pl.concat([rows.group_by(by).agg(pl.col("score").mean()) for rows in outcomes])
