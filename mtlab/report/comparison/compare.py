"""Compares a study's variants: means over seeds, differences to the baseline, p-values and verdicts."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from mtlab.report.comparison.best_rows import best_rows
from mtlab.report.comparison.paired_examples import PairedExamples, pair_examples
from mtlab.report.formats.numbers import format_margin, format_p_value
from mtlab.report.sequential.summary import seen_results
from mtlab.report.side_by_side import block_label, variant_label
from mtlab.runs.store import metric_direction
from mtlab.statistics.correction import holm
from mtlab.statistics.equivalence import equivalence_p
from mtlab.statistics.intervals import MeanInterval, clip
from mtlab.statistics.learning import Learning
from mtlab.statistics.paired import Difference
from mtlab.statistics.power import POWER, smallest_detectable
from mtlab.statistics.seed_tests import lookup_test
from mtlab.studies.looks import Looks, LookTest
from mtlab.studies.seeds import stopping_rule

if TYPE_CHECKING:
    import polars as pl

from mtlab.report.comparison.seed_results import (
    SeedResults,
    blind_floors,
    clump_notes,
    column_mean,
    difference_bounds,
    given_floor,
    judge_variant,
    results_by_cell,
    seed_mean,
    unjudged_note,
)

ComparisonVerdict = Literal[
    "better",
    "worse",
    "equivalent",
    "identical",
    "undecided",
    "too few",
    "baseline",
    "not compared",
    "not learned",
    "baseline not learned",
    "blind",
]

WITHHELD: frozenset[ComparisonVerdict] = frozenset({"not learned", "baseline not learned", "blind"})  #: no comparison


@dataclass(frozen=True)
class VariantCost:
    """The cost of a variant; None where it is not known."""

    params: float | None = None  #: of all parts, frozen towers included
    trained_params: float | None = None
    flops: float | None = None  #: of one example, forward, published arithmetic
    flops_training: float | None = None  #: of one example
    steps: int | None = None  #: of one run, as planned
    training_flops: float | None = None  #: of one run's whole training, as planned
    seconds: float | None = None  #: of training, mean over seeds
    memory_mib: float | None = None  #: peak, mean over seeds


@dataclass(frozen=True)
class ComparisonRow:
    """One variant of a study, compared with its baseline."""

    label: str
    cell: str
    variant: str  #: the label without how long it was trained, where that is an axis
    block: str | None  #: how long it was trained, where that is an axis
    axes: Mapping[str, Any]
    config_differences: Mapping[str, Any]  #: from the variant that it is compared with
    is_baseline: bool
    planned: int  #: seeds that the study asks for
    results: SeedResults  #: of each seed that has the metric
    mean: MeanInterval | None
    learning: Learning | None  #: which seeds have learned; None where the metric has no floor, or the variant is blind
    cost: VariantCost
    metrics: Mapping[str, float | None]  #: of `metrics.report`, means over seeds
    compare_to: str | None = None  #: cell
    compare_label: str | None = None
    difference: Difference | None = None
    differences: SeedResults = field(default_factory=dict)  #: of each seed that both have
    p_corrected: float | None = None
    p_equivalence: float | None = None  #: of a difference larger than the margin, corrected; None without a margin
    look: LookTest | None = None  #: the last look, where a study has as many seeds as it needs
    smallest_detectable: float | None = None
    outcome: ComparisonVerdict = "not compared"
    verdict: str = "—"
    best: bool = False
    alone: bool = False  #: the only one that has learned of those with the same questions and length of training
    notes: tuple[str, ...] = field(default=())

    @property
    def n(self) -> int:
        """Number of seeds that have the metric."""
        return len(self.results)

    @property
    def compared(self) -> bool:
        """Whether it is compared with a baseline: it is not blind, and all seeds of both have learned."""
        return self.compare_to is not None and self.outcome not in WITHHELD


OTHER_RESULTS = (
    "its results are not those of its last look, which its p-values are from: remove `looks` in the study's folder, "
    "and `mtlab run` decides anew"
)


def smallest_alpha(plan: Mapping[str, Any], comparisons: int) -> float:
    """Return the level at the hardest step of the correction, which decides what a table can detect."""
    return float(plan["alpha"]) / (comparisons if plan["correct"] == "holm" and comparisons else 1)


def compare(
    runs: pl.DataFrame, outcomes: Mapping[str, pl.DataFrame], plan: Mapping[str, Any], looks: Looks | None = None
) -> tuple[ComparisonRow, ...]:
    """Compare a study's variants, in the plan's order, on its verdict metric.

    Args:
        runs: see `frame.run_frame`.
        outcomes: see `frame.outcomes_by_cell`; may be empty.
        plan: the stored plan.
        looks: those of the study, where it has as many seeds as it needs: p-values are those of each last look.

    Raises:
        UserError: the plan names a test that does not exist.

    """
    metric = plan["metrics"]["verdict"]
    mode = metric_direction(plan, metric)
    results = results_by_cell(runs, plan, metric)
    floors = blind_floors(plan, results, given_floor(plan))
    measured = [_measure(runs, plan, row, results[row["cell"]], floors.get(row["cell"])) for row in plan["rows"]]
    tested = [
        row
        if row.compare_to is None
        else _test(row, measured, runs, outcomes, seen_results(results, (row.cell, row.compare_to), plan, looks), plan)
        for row in measured
    ]
    tested = _add_looks(tested, looks) if looks is not None else _correct(tested, plan)
    count = len(compared_pairs(tested)) if looks is None else len(looks.pairs)
    alpha = smallest_alpha(plan, count)
    rows = []
    for row in tested:
        outcome, verdict = _verdict(row, plan, mode)
        detectable = _smallest_detectable(row, alpha, plan)
        rows.append(replace(row, smallest_detectable=detectable, outcome=outcome, verdict=verdict))
    best, alone = best_rows(rows, plan, mode)
    return tuple(replace(row, best=index in best, alone=index in alone) for index, row in enumerate(rows))


def compared_pairs(rows: Sequence[ComparisonRow]) -> set[tuple[str, str]]:
    """Return the pairs of cells that are compared: two rows may be one cell, at equal steps and at equal FLOPs."""
    return {(row.cell, row.compare_to) for row in rows if row.compared and row.compare_to is not None}


def _correct(rows: Sequence[ComparisonRow], plan: Mapping[str, Any]) -> list[ComparisonRow]:
    """Add the p-values, corrected for all comparisons."""
    pairs = [(row.cell, row.compare_to) for row in rows if row.compared]
    compared = [row.difference for row in rows if row.compared]
    margin = plan["equivalence"]
    within = [None if each is None or margin is None else equivalence_p(each, margin) for each in compared]
    p_values = iter(correct_p_values(pairs, [None if each is None else each.p for each in compared], plan["correct"]))
    equivalences = iter(correct_p_values(pairs, within, plan["correct"]))
    return [
        replace(row, p_corrected=next(p_values), p_equivalence=next(equivalences)) if row.compared else row
        for row in rows
    ]


def _add_looks(rows: Sequence[ComparisonRow], looks: Looks) -> list[ComparisonRow]:
    """Add the p-values of the last looks, as they were recorded: they count the looks, and are corrected.

    A note says where the results are not those that the look has seen.
    """
    added = []
    for row in rows:
        test = None if row.compare_to is None else looks.last.get((row.cell, row.compare_to))
        done = replace(row, look=test)
        if test is not None and row.difference is not None and row.compared:
            counted = replace(row.difference, p=test.p)
            within = test.p_equivalence_corrected
            done = replace(done, difference=counted, p_corrected=test.p_corrected, p_equivalence=within)
            if test.difference is None or not math.isclose(row.difference.difference, test.difference, abs_tol=1e-9):
                done = replace(done, notes=(*done.notes, OTHER_RESULTS))
        added.append(done)
    return added


def _measure(
    runs: pl.DataFrame, plan: Mapping[str, Any], row: Mapping[str, Any], results: SeedResults, floor: float | None
) -> ComparisonRow:
    """Describe one variant without comparing it."""
    cell, metric = row["cell"], plan["metrics"]["verdict"]
    learning = judge_variant(runs, plan, row, metric, floor)
    mean = seed_mean(results, plan["alpha"], metric, learning)
    unjudged = () if row["blind"] else unjudged_note(runs, cell, metric, results, learning)
    outcome: ComparisonVerdict = "blind" if row["blind"] else "not compared"
    return ComparisonRow(
        label=row["label"],
        cell=cell,
        variant=variant_label(row),
        block=block_label(row),
        axes=row["axes"],
        config_differences=row["differences"],
        is_baseline=row["baseline"],
        planned=sum(run["cell"] == cell for run in plan["runs"]),
        results=results,
        mean=mean,
        learning=learning,
        cost=_cost(runs, plan, cell),
        metrics={name: column_mean(runs, cell, name) for name in plan["metrics"]["report"]},
        compare_to=row["compare_to"],
        outcome=outcome if learning is None or learning.complete else "not learned",
        notes=(*((row["note"],) if row["note"] else ()), *clump_notes(mean, metric), *unjudged),
    )


def _test(
    row: ComparisonRow,
    rows: Sequence[ComparisonRow],
    runs: pl.DataFrame,
    outcomes: Mapping[str, pl.DataFrame],
    results: Mapping[str, SeedResults],
    plan: Mapping[str, Any],
) -> ComparisonRow:
    """Add the difference of a variant to its baseline."""
    other = str(row.compare_to)
    # Two rows may be one cell, at equal steps and at equal FLOPs: the one trained as long is meant.
    candidates = sorted((each for each in rows if each.cell == other), key=lambda each: each.block != row.block)
    label = candidates[0].label if candidates else other
    difference, note = paired_difference(results, (row.cell, other), runs, outcomes, plan["metrics"]["verdict"], plan)
    notes = [*row.notes, *([note] if note else [])]
    shared = sorted(set(results[row.cell]) & set(results.get(other, {})))
    if results[row.cell] and len(shared) < max(len(results[row.cell]), len(results.get(other, {}))):
        seeds = ", ".join(map(str, shared))
        where = f"on the seeds that both have ({seeds})" if shared else "not possible: no shared seed"
        notes.append(f"comparison with {label} {where}")
    if difference is not None and difference.error != 0 and difference.note and difference.n > 1:
        notes.append(difference.note)
    learning = candidates[0].learning if candidates else None
    if row.outcome not in WITHHELD and learning is not None and not learning.among(results.get(other, {})).complete:
        row = replace(row, outcome="baseline not learned")
    if difference is not None and not row.compared:
        difference = replace(difference, interval=None, p=None)
    differences = {seed: results[row.cell][seed] - results[other][seed] for seed in shared}
    return replace(row, compare_label=label, difference=difference, differences=differences, notes=tuple(notes))


def paired_difference(
    results: Mapping[str, SeedResults],
    cells: tuple[str, str],
    runs: pl.DataFrame,
    outcomes: Mapping[str, pl.DataFrame],
    metric: str,
    plan: Mapping[str, Any],
) -> tuple[Difference | None, str | None]:
    """Test variant − baseline on the seeds that both have; also return a note on the outcomes of single examples."""
    variant, baseline = (results.get(cell, {}) for cell in cells)
    shared = sorted(set(variant) & set(baseline))
    test = lookup_test(plan["test"])
    if not shared:
        return None, None
    differences = [variant[seed] - baseline[seed] for seed in shared]
    if len(shared) < test.seeds:
        mean = sum(differences) / len(differences)
        return Difference(len(shared), mean, None, None, None, f"{plan['test']} needs {test.seeds} seeds"), None
    examples = PairedExamples(None)
    if plan["test"] == "paired_t_examples":
        examples = pair_examples(outcomes, runs, metric, cells, shared)
    found = test.run(differences, examples.variance, plan["alpha"])
    bounds = difference_bounds(metric, (*variant.values(), *baseline.values()))
    return replace(found, interval=clip(found.interval, bounds)), examples.note


def correct_p_values(pairs: Sequence[Hashable], p_values: Sequence[float | None], correct: str) -> list[float | None]:
    """Correct the p-values of all planned comparisons together; those without results count as p = 1.

    So a p-value of an unfinished study is not smaller than the same p-value of the finished one.

    Args:
        pairs: what each p-value compares; of one comparison that stands in several rows, it counts once.
        p_values: as many.
        correct: `holm` or `none`.

    """
    raw = {pair: 1.0 if p is None else p for pair, p in zip(pairs, p_values, strict=True)}
    corrected = dict(zip(raw, holm([*raw.values()]), strict=True)) if correct == "holm" else raw
    return [None if p is None else corrected[pair] for pair, p in zip(pairs, p_values, strict=True)]


def _smallest_detectable(row: ComparisonRow, alpha: float, plan: Mapping[str, Any]) -> float | None:
    """Return what the comparison could have detected; of one with looks, where the last of them showed nothing."""
    difference = row.difference
    if difference is None or difference.error is None or not row.compared:
        return None
    if (rule := stopping_rule(plan)) is not None:
        if row.look is None or row.look.ended != "max":
            return None
        alpha = rule.difference.at(alpha)[-1]
    seeds, examples = difference.spread
    return smallest_detectable(seeds, difference.n, alpha, POWER, examples)


def _verdict(row: ComparisonRow, plan: Mapping[str, Any], mode: str) -> tuple[ComparisonVerdict, str]:
    if row.outcome == "not learned":
        return row.outcome, f"{'baseline, ' if row.is_baseline else ''}{row.learning}"
    if row.outcome == "blind":
        return row.outcome, "blind"
    if row.outcome == "baseline not learned":
        return row.outcome, f"no verdict: {row.compare_label} has not learned"
    if row.compare_to is None:
        return ("baseline", "baseline") if row.is_baseline else ("not compared", "not compared")
    difference, p = row.difference, row.p_corrected
    if difference is None:
        if row.n and plan["sequential"] and row.look is None:
            return "too few", "no look yet"
        return "too few", "no results yet" if not row.n else "no shared seed yet"
    if p is None:
        return "too few", f"too few seeds ({difference.n} of at least {lookup_test(plan['test']).seeds})"
    alpha = float(plan["alpha"])
    outcome = classify_outcome(difference, p, alpha, mode)
    within = row.p_equivalence is not None and row.p_equivalence <= alpha
    if outcome == "identical":
        return outcome, f"identical to {row.compare_label}"
    if outcome == "undecided" and within:
        assert row.p_equivalence is not None
        margin = format_margin(plan["equivalence"], plan["metrics"]["verdict"])
        return "equivalent", f"no difference larger than {margin} ({format_p_value(row.p_equivalence, alpha)})"
    if outcome == "undecided":
        waiting = " yet" if plan["sequential"] and (row.look is None or row.look.ended is None) else ""
        return outcome, f"no difference shown{waiting} ({format_p_value(p, alpha)})"
    return outcome, f"{outcome} than {row.compare_label} ({format_p_value(p, alpha)})"


def classify_outcome(difference: Difference | None, p: float | None, alpha: float, mode: str) -> ComparisonVerdict:
    """Classify a difference by its corrected p-value."""
    if difference is None or p is None:
        return "too few"
    if difference.difference == 0 and difference.error == 0:
        return "identical"
    if p > alpha:
        return "undecided"
    return "better" if (difference.difference > 0) == (mode == "max") else "worse"


def _cost(runs: pl.DataFrame, plan: Mapping[str, Any], cell: str) -> VariantCost:
    """Return the costs that runs measured, else those that the plan expects."""
    planned: Mapping[str, Any] = next((run["cost"] for run in plan["runs"] if run["cell"] == cell), {})
    measured = {name: column_mean(runs, cell, f"cost/{name}") for name in ("params", "trained_params", "flops")}
    return VariantCost(
        params=measured["params"],
        trained_params=_first(measured["trained_params"], planned.get("trained_params")),
        flops=_first(measured["flops"], planned.get("flops_forward")),
        flops_training=column_mean(runs, cell, "cost/flops_training"),
        steps=planned.get("steps"),
        training_flops=_first(planned.get("flops")),
        seconds=column_mean(runs, cell, "cost/seconds"),
        memory_mib=column_mean(runs, cell, "cost/memory"),
    )


def _first(*values: float | None) -> float | None:
    return next((float(value) for value in values if value is not None), None)
