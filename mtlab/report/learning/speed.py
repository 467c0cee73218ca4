"""How fast the variants of a study learn: the area under their validation curves, and the steps to a target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mtlab.report.comparison.compare import (
    ComparisonRow,
    ComparisonVerdict,
    VariantCost,
    classify_outcome,
    correct_p_values,
)
from mtlab.report.comparison.seed_results import (
    SeedResults,
    blind_floors,
    difference_bounds,
    question_groups,
    recorded_floor,
    results_by_cell,
    seed_mean,
)
from mtlab.report.formats import numbers
from mtlab.report.learning.validation_curve import ValidationCurve, read_curve
from mtlab.report.sequential.summary import count_looks, look_seeds
from mtlab.runs.store import Store, metric_direction
from mtlab.statistics.intervals import MeanInterval, clip, mean_interval
from mtlab.statistics.paired import Difference
from mtlab.statistics.seed_tests import lookup_test
from mtlab.units import in_points

if TYPE_CHECKING:
    import polars as pl

SHARE = 0.9  #: of the way to the best final mean, where a study names no target


@dataclass(frozen=True)
class SpeedTarget:
    """The value that runs are timed to, in the metric's own unit."""

    value: float
    start: float | None = None  #: where the way to `best` starts; None where the study names the value
    best: float | None = None  #: best final mean of the variants on the same questions
    start_name: str = ""  #: what `start` is


@dataclass(frozen=True)
class StepsToTarget:
    """When the runs of a variant reached the target: a run that never did is censored at its length."""

    by_seed: Mapping[int, int | None]  #: the first validated step at the target or better; None: never
    length: int  #: steps of training
    mean: MeanInterval | None  #: geometric mean, t interval of the logarithm; None where a run never reached it

    @property
    def censored(self) -> int:
        """Runs that never reached the target."""
        return sum(step is None for step in self.by_seed.values())


@dataclass(frozen=True)
class SpeedRow:
    """The learning speed of one variant."""

    label: str
    cell: str
    areas: SeedResults  #: of each finished run with at least two validations
    area: MeanInterval | None
    target: SpeedTarget | None  #: the same for all rows of the same questions, or that are compared
    why_no_target: str  #: empty where there is one
    reached: StepsToTarget | None  #: None without a target or a curve
    compare_to: str | None = None  #: cell; None, too, where that is trained for another length
    difference: Difference | None = None  #: of areas, on shared seeds
    p_corrected: float | None = None
    outcome: ComparisonVerdict = "not compared"


@dataclass(frozen=True)
class LearningSpeed:
    """The learning speed of a study's variants."""

    metric: str  #: on validation data
    mode: str
    validated_every: tuple[int, int]  #: fewest and most steps between two validations
    begins: tuple[float, float]  #: shares of training after which the first curve begins, and all areas
    test: str  #: of differences of areas
    rows: tuple[SpeedRow, ...] = field(default=())

    @property
    def targets(self) -> tuple[SpeedTarget, ...]:
        """Each target once."""
        return tuple(dict.fromkeys(row.target for row in self.rows if row.target is not None))


def compare_speed(
    store: Store, runs: pl.DataFrame, rows: Sequence[ComparisonRow], plan: Mapping[str, Any]
) -> LearningSpeed | None:
    """Compare how fast the variants of a study learn; None where no finished run has a validation curve.

    Args:
        store: where the runs are.
        runs: see `frame.run_frame`.
        rows: see `comparison.compare`.
        plan: the stored plan.

    """
    metric = plan["metrics"]["choose"]
    mode = metric_direction(plan, metric)
    curves = {row.cell: _read_curves(store, runs, row, metric) for row in rows}
    listed = [curve for of_cell in curves.values() for curve in of_cell.values()]
    if not listed:
        return None
    targets = _choose_targets(curves, runs, plan)
    # Outcomes of validation examples are recorded at the end of training alone: no variance over examples.
    test = "paired_t" if plan["test"] == "paired_t_examples" else plan["test"]
    begins = max((curve.begins for curve in listed if curve.begins < 1), default=1.0)
    areas = {cell: _areas(of_cell, begins) for cell, of_cell in curves.items()}
    measured = [_measure(row, rows, areas, curves[row.cell], targets[row.cell], {**plan, "test": test}) for row in rows]
    gaps = [b - a for curve in listed for a, b in zip(curve.steps, curve.steps[1:], strict=False)] or [listed[0].length]
    return LearningSpeed(
        metric,
        mode,
        (min(gaps), max(gaps)),
        (min(curve.begins for curve in listed), begins),
        test,
        _classify(measured, plan["correct"], plan["alpha"], mode),
    )


def _read_curves(store: Store, runs: pl.DataFrame, row: ComparisonRow, metric: str) -> dict[int, ValidationCurve]:
    """Read the curves of a variant's finished runs, by seed."""
    done = runs.filter(cell=row.cell, state="done").select("run", "seed").sort("seed").iter_rows()
    found = {seed: read_curve(store.metrics(run), metric, row.cost.steps) for run, seed in done}
    return {seed: curve for seed, curve in found.items() if curve is not None}


def _areas(curves: Mapping[int, ValidationCurve], begins: float) -> dict[int, float]:
    return {seed: area for seed, curve in curves.items() if (area := curve.area(begins)) is not None}


def _choose_targets(
    curves: Mapping[str, Mapping[int, ValidationCurve]], runs: pl.DataFrame, plan: Mapping[str, Any]
) -> dict[str, tuple[SpeedTarget | None, str]]:
    """Return the target of each cell, or why there is none: one for those that answer the same questions."""
    metric = plan["metrics"]["choose"]
    blind = blind_floors(plan, results_by_cell(runs, plan, metric)) if metric_direction(plan, metric) == "max" else {}
    chosen: dict[str, tuple[SpeedTarget | None, str]] = {}
    for cells in question_groups(plan["rows"]):
        recorded = recorded_floor(runs.filter(runs["cell"].is_in(cells)), metric)
        known = [recorded, *(blind.get(cell) for cell in cells)]
        floor = max((each for each in known if each is not None), default=None)
        chosen |= dict.fromkeys(cells, _choose_target({cell: curves[cell] for cell in cells}, plan, floor))
    return chosen


def _choose_target(
    curves: Mapping[str, Mapping[int, ValidationCurve]], plan: Mapping[str, Any], floor: float | None
) -> tuple[SpeedTarget | None, str]:
    """Return the study's `report.reach`, else 90 % of the way to the best final mean; or why there is no target."""
    metric = plan["metrics"]["choose"]
    mode = metric_direction(plan, metric)
    reach = plan["reach"]
    if reach is not None:
        return SpeedTarget(reach / 100 if in_points(metric) else reach), ""
    own = [list(of_cell.values()) for of_cell in curves.values() if of_cell]
    if not own:
        return None, "no finished run was validated while it was trained"
    best = (max if mode == "max" else min)(_mean([curve.final for curve in each]) for each in own)
    name = "the blind floor"
    start = floor
    if start is None:
        name, start = "the mean at the first validation", _mean([curve.values[0] for each in own for curve in each])
    if (best > start) != (mode == "max") or best == start:
        return None, f"no variant ends better than {name}, {numbers.format_score(start, metric)}"
    return SpeedTarget(start + SHARE * (best - start), start, best, name), ""


def _measure(
    row: ComparisonRow,
    rows: Sequence[ComparisonRow],
    areas: Mapping[str, SeedResults],
    curves: Mapping[int, ValidationCurve],
    chosen: tuple[SpeedTarget | None, str],
    plan: Mapping[str, Any],
) -> SpeedRow:
    """Describe the speed of one variant, with the difference of its area to its baseline's."""
    own, alpha = areas[row.cell], plan["alpha"]
    difference, compare_to = None, row.compare_to if row.compared and _equally_long(row, rows) else None
    if compare_to is not None:
        other = areas.get(compare_to, {})
        seen = look_seeds(plan, row.look) if plan["sequential"] else own
        differences = [value - other[seed] for seed, value in own.items() if seed in other and seed in seen]
        if len(differences) >= lookup_test(plan["test"]).seeds:
            found = lookup_test(plan["test"]).run(differences, None, alpha)
            bounds = difference_bounds(plan["metrics"]["choose"], (*own.values(), *other.values()))
            difference = count_looks(replace(found, interval=clip(found.interval, bounds)), row.look, plan)
        elif differences:
            difference = Difference(len(differences), _mean(differences), None, None, None)
    target = chosen[0]
    reached = None if target is None or not curves else _steps_to(curves, target.value, plan)
    outcome: ComparisonVerdict = "baseline" if row.is_baseline else "not compared"
    area = seed_mean(own, alpha, plan["metrics"]["choose"])
    return SpeedRow(row.label, row.cell, own, area, *chosen, reached, compare_to, difference, outcome=outcome)


def _equally_long(row: ComparisonRow, rows: Sequence[ComparisonRow]) -> bool:
    """Return whether a row and its baseline are trained for the same steps, or the same FLOPs.

    A longer curve is higher on average, however fast it rises.
    """
    others = [other.cost for other in rows if other.cell == row.compare_to]
    return not others or any(row.cost.steps == cost.steps or _same_flops(row.cost, cost) for cost in others)


def _same_flops(one: VariantCost, other: VariantCost) -> bool:
    """Return whether the FLOPs of two trainings are the same but for less than a step."""
    if not (one.training_flops and one.steps and other.training_flops and other.steps):
        return False
    step = max(one.training_flops / one.steps, other.training_flops / other.steps)
    return abs(one.training_flops - other.training_flops) < step


def _steps_to(curves: Mapping[int, ValidationCurve], target: float, plan: Mapping[str, Any]) -> StepsToTarget:
    mode = metric_direction(plan, plan["metrics"]["choose"])
    steps = {seed: curve.first_step(target, mode) for seed, curve in curves.items()}
    reached = [step for step in steps.values() if step is not None]
    length = max(curve.length for curve in curves.values())
    if len(reached) < len(steps):
        return StepsToTarget(steps, length, None)
    # Steps are positive and skewed to the right: the interval of their logarithm never ends below zero.
    of_logarithm = mean_interval([math.log(step) for step in reached], plan["alpha"])
    ends = of_logarithm.interval
    interval = None if ends is None else (math.exp(ends[0]), math.exp(ends[1]))
    mean = MeanInterval(len(reached), math.exp(of_logarithm.mean), of_logarithm.sd, interval)
    return StepsToTarget(steps, length, mean)


def _classify(rows: Sequence[SpeedRow], correct: str, alpha: float, mode: str) -> tuple[SpeedRow, ...]:
    """Correct the p-values of all rows together, and classify the differences by them."""
    compared = [row for row in rows if row.compare_to is not None]
    pairs = [(row.cell, row.compare_to) for row in compared]
    p_values = [None if row.difference is None else row.difference.p for row in compared]
    corrected = iter(correct_p_values(pairs, p_values, correct))

    def classify(row: SpeedRow) -> SpeedRow:
        if row.compare_to is None:
            return row
        p = next(corrected)
        return replace(row, p_corrected=p, outcome=classify_outcome(row.difference, p, alpha, mode))

    return tuple(map(classify, rows))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
