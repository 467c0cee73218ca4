"""Outcomes of single examples, paired between two variants for the tests over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtlab.statistics.example_variance import ExampleVariance, example_variance
from mtlab.statistics.numbers import Floats
from mtlab.units import in_points

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class PairedExamples:
    """What the examples of two variants add to the variance of their difference."""

    variance: ExampleVariance | None  #: None where it cannot be estimated
    note: str | None = None  #: why not, or what is odd about them


def count_examples(outcomes: Iterable[pl.DataFrame], metric: str) -> int | None:
    """Count the examples of a metric; None without any, or where variants (one table each) have different numbers."""
    _, _, family = metric.partition("/")[2].partition("/")
    own = (rows.filter(family=family) if family else rows for rows in outcomes)
    return _if_equal([rows["id"].n_unique() for rows in own if rows.height])


def count_family_examples(outcomes: Mapping[str, pl.DataFrame]) -> dict[str, int | None]:
    """Count the examples of each family; None where variants have different numbers."""
    import polars as pl

    counts: dict[str, list[int]] = {}
    for rows in outcomes.values():
        for family, count in rows.group_by("family").agg(pl.col("id").n_unique()).iter_rows():
            counts.setdefault(str(family), []).append(count)
    return {family: _if_equal(of_cells) for family, of_cells in counts.items()}


def _if_equal(counts: Sequence[int]) -> int | None:
    return counts[0] if len(set(counts)) == 1 else None


def pair_examples(
    outcomes: Mapping[str, pl.DataFrame], runs: pl.DataFrame, metric: str, cells: tuple[str, str], seeds: Sequence[int]
) -> PairedExamples:
    """Pair the examples of two variants.

    Only outcomes whose mean is the metric are used: those of accuracy say nothing about the variance of a loss.

    Args:
        outcomes: see `frame.outcomes_by_cell`.
        runs: see `frame.run_frame`.
        metric: SPLIT/NAME or SPLIT/NAME/FAMILY.
        cells: variant and baseline.
        seeds: those that both have.

    """
    import polars as pl

    split, _, rest = metric.partition("/")
    family = rest.partition("/")[2]
    chosen = pl.col("seed").is_in(list(seeds)) & (pl.col("split") == split)
    if family:
        chosen &= pl.col("family") == family
    both_rows = [outcomes[cell].filter(chosen) for cell in cells if cell in outcomes]
    if not any(rows.height for rows in both_rows):
        return PairedExamples(None, "no outcomes of single examples: the variance is that over seeds alone")
    means = pl.concat([rows.group_by("run").agg(pl.col("score").mean()) for rows in both_rows])
    joined = means.join(runs.select("run", pl.col(metric).alias("metric")), on="run")
    if joined.height < 2 * len(seeds):
        return PairedExamples(
            None, "some runs recorded no outcomes of single examples: the variance is that over seeds alone"
        )
    if not np.allclose(joined["score"].to_numpy(), joined["metric"].to_numpy(), rtol=0, atol=1e-6):
        return PairedExamples(None, f"{metric} is no mean of recorded outcomes: the variance is that over seeds alone")
    tables = [_by_seed(rows, seeds) for rows in both_rows]
    if not all(table.height for table in tables):
        return PairedExamples(None, "seeds were evaluated on other examples: the variance is that over seeds alone")
    both = tables[0].join(tables[1], on=("id", "cluster"), how="full", coalesce=True, suffix="_other").sort("id")
    scores, others = (both.select(f"{seed}{suffix}" for seed in seeds).to_numpy().T for suffix in ("", "_other"))
    clusters, largest = both["cluster"].to_numpy(), float(in_points(metric))
    sides = [np.isfinite(table).all(axis=0) for table in (scores, others)]
    found = example_variance(_gaps(scores, others), clusters, largest, sides) if len(seeds) > 1 else None
    shared, sizes = sum(table.height for table in tables) - both.height, [table.height for table in tables]
    notes = []
    if not shared:
        notes.append("evaluated on other examples than the baseline: pairing by seed means little here")
    elif shared < max(sizes):
        notes.append(f"only {shared} examples are shared with the baseline ({sizes[0]} and {sizes[1]})")
    if found is None and len(seeds) > 1:
        whose = "of one of the two " if notes else ""
        notes.append(f"all examples {whose}are of one cluster: the variance is that over seeds alone")
    return PairedExamples(found, "; ".join(notes) or None)


def _by_seed(rows: pl.DataFrame, seeds: Sequence[int]) -> pl.DataFrame:
    """Return id, cluster and the score of each seed, of the examples that all seeds have."""
    import polars as pl

    means = rows.group_by("id", "seed").agg(pl.col("score").mean(), pl.col("cluster").first())
    table = means.pivot("seed", index=("id", "cluster"), values="score")
    return table.select("id", "cluster", *map(str, seeds)).drop_nulls()


def _gaps(scores: Floats, others: Floats) -> Floats:
    """Return variant − baseline by seed and example, [n, m], over the examples of either; NaN: it lacks the example.

    An example that one of them lacks moves the difference of the means by what it is off that one's mean, times the
    share of the examples that it has. So the mean of these gaps is the difference of the means, and where both have
    all examples they are the plain differences.
    """
    if np.isfinite(scores).all() and np.isfinite(others).all():
        return scores - others

    def moves(table: Floats) -> Floats:
        known = np.isfinite(table)
        off = np.where(known, table - np.nanmean(table, axis=1, keepdims=True), 0.0)
        moved: Floats = off * (table.shape[1] / known.sum(axis=1, keepdims=True))
        return moved

    means = np.nanmean(scores, axis=1, keepdims=True) - np.nanmean(others, axis=1, keepdims=True)
    gaps: Floats = means + moves(scores) - moves(others)
    return gaps
