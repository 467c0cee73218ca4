"""Ranks the variants of a study: all pairs are compared, and letters join those that were not told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from mtlab.errors import UserError
from mtlab.report.comparison.compare import (
    WITHHELD,
    ComparisonRow,
    classify_outcome,
    correct_p_values,
    paired_difference,
)
from mtlab.report.comparison.seed_results import SeedResults, question_groups, seed_mean
from mtlab.runs.store import metric_direction
from mtlab.statistics.letter_display import letter_groups, letters_of
from mtlab.statistics.paired import Difference
from mtlab.statistics.seed_tests import lookup_test

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class RankedPair:
    """The comparison of two ranked variants."""

    better: str  #: label of the variant with the better mean
    worse: str
    difference: Difference  #: better − worse
    p_corrected: float | None  #: for all pairs
    different: bool


@dataclass(frozen=True)
class RankedVariant:
    """A variant at its place."""

    row: ComparisonRow  #: its results and mean are those of the seeds that all ranked variants have
    letters: str  #: of its groups


@dataclass(frozen=True)
class Ranking:
    """The variants of a study, best first, and what was shown of each pair."""

    study: str
    metric: str
    test: str
    alpha: float
    correct: str
    variants: tuple[RankedVariant, ...]
    groups: tuple[tuple[int, ...], ...]  #: places of the variants that share a letter, a first
    pairs: tuple[RankedPair, ...]
    left_out: Mapping[str, str]  #: label → why it has no place
    notes: tuple[str, ...]  #: on its validity


def rank_variants(
    rows: Sequence[ComparisonRow],
    runs: pl.DataFrame,
    outcomes: Mapping[str, pl.DataFrame],
    plan: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Ranking:
    """Rank the variants of a study by their means over seeds, with the study's own test and correction.

    Variants that are blind, have not learned or have too few seeds for the test have no place. The others are ranked on
    the seeds that all of them have, so that no order of means contradicts a paired test.

    Args:
        rows: the variants as `compare` gives them.
        runs: see `frame.run_frame`.
        outcomes: see `frame.outcomes_by_cell`; may be empty.
        plan: the stored plan.
        notes: on the validity of the results, as the report has them.

    Raises:
        UserError: the number of seeds was decided by looks at them, `train.length` is an axis, or rows differ in
            `task` or `data` and are not compared across that.

    """
    study = plan["study"]
    if plan["sequential"]:
        problem = "its seeds were decided by looks at its comparisons with the baseline, which other pairs were not"
        raise UserError(f"{problem}: rank a study of a fixed number of seeds", file=study)
    if len({row.block for row in rows}) > 1:
        raise UserError("its variants were trained for several lengths: rank a study of one", file=study)
    if len(question_groups(plan["rows"])) > 1:
        problem = "its variants differ in `task` or `data`, and the study compares none of them across that"
        raise UserError(f"{problem}: rank a study of one of these", file=study)
    metric, needed = plan["metrics"]["verdict"], lookup_test(plan["test"]).seeds
    mode = metric_direction(plan, metric)
    left_out = {row.label: reason for row in rows if (reason := _why_left_out(row, needed)) is not None}
    kept = [row for row in rows if row.label not in left_out]
    shared = sorted(set[int].intersection(*(set(row.results) for row in kept))) if kept else []
    if len(shared) < needed:
        left_out |= {row.label: f"{len(shared)} of its seeds are shared by all, {needed} are needed" for row in kept}
        kept = []
    reduced = [_keep_seeds(row, shared, plan["alpha"], metric) for row in kept]
    ranked = sorted(reduced, key=_mean, reverse=mode == "max")
    results: dict[str, SeedResults] = {row.cell: row.results for row in ranked}
    places = list(combinations(range(len(ranked)), 2))
    found = []
    for one, other in places:
        cells = ranked[one].cell, ranked[other].cell
        difference, _ = paired_difference(results, cells, runs, outcomes, metric, plan)
        assert difference is not None, "ranked variants share their seeds"
        found.append(difference)
    pairs = [frozenset((ranked[one].cell, ranked[other].cell)) for one, other in places]
    corrected = correct_p_values(pairs, [each.p for each in found], plan["correct"])
    shown = [
        classify_outcome(each, p, plan["alpha"], mode) in ("better", "worse")
        for each, p in zip(found, corrected, strict=True)
    ]
    groups = letter_groups(len(ranked), [pair for pair, different in zip(places, shown, strict=True) if different])
    letters = letters_of(len(ranked), groups)
    return Ranking(
        study=study,
        metric=metric,
        test=plan["test"],
        alpha=plan["alpha"],
        correct=plan["correct"],
        variants=tuple(RankedVariant(row, text) for row, text in zip(ranked, letters, strict=True)),
        groups=tuple(groups),
        pairs=tuple(
            RankedPair(ranked[one].label, ranked[other].label, difference, p, different)
            for (one, other), difference, p, different in zip(places, found, corrected, shown, strict=True)
        ),
        left_out=left_out,
        notes=tuple(notes),
    )


def _why_left_out(row: ComparisonRow, needed: int) -> str | None:
    if row.mean is None:
        return "no results yet"
    if row.outcome in WITHHELD - {"baseline not learned"}:
        return row.outcome
    return f"too few seeds ({row.n} of at least {needed})" if row.n < needed else None


def _keep_seeds(row: ComparisonRow, seeds: Sequence[int], alpha: float, metric: str) -> ComparisonRow:
    results = {seed: row.results[seed] for seed in seeds}
    return replace(row, results=results, mean=seed_mean(results, alpha, metric))


def _mean(row: ComparisonRow) -> float:
    assert row.mean is not None
    return row.mean.mean
