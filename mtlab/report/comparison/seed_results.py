"""A variant's results by seed: its mean with an interval, and whether its seeds are above a blind answer."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtlab.report.formats.numbers import format_score
from mtlab.runs.store import metric_direction
from mtlab.statistics.intervals import APART, Bounds, MeanInterval, mean_interval, separate, split_seeds, within
from mtlab.statistics.learning import Floor, Learning, floor_metrics, judge_learning
from mtlab.units import in_points

if TYPE_CHECKING:
    import polars as pl

SeedResults = Mapping[int, float]  #: seed → result

SHARES = (0.0, 1.0)  #: bounds of a share of examples


def results_by_seed(runs: pl.DataFrame, cell: str, metric: str) -> dict[int, float]:
    """Return the finite results of a cell's finished runs by seed."""
    if metric not in runs.columns:
        return {}
    rows = runs.filter(cell=cell).select("seed", metric).sort("seed").iter_rows()
    return {seed: value for seed, value in rows if value is not None and math.isfinite(value)}


def results_by_cell(runs: pl.DataFrame, plan: Mapping[str, Any], metric: str) -> dict[str, dict[int, float]]:
    """Return the results of each variant of a plan by seed, see `results_by_seed`."""
    return {row["cell"]: results_by_seed(runs, row["cell"], metric) for row in plan["rows"]}


def blind_floors(
    plan: Mapping[str, Any], results: Mapping[str, SeedResults], given: float | None = None
) -> dict[str, float]:
    """Return the floor of each cell of a study, where one is known.

    Args:
        plan: the stored plan.
        results: of a metric, by cell.
        given: the floor that the study's file gives, see `given_floor`.

    Returns:
        The best mean of a blind variant on the same task and data, or `given` where that is higher.

    """
    best: dict[str, float] = {}
    for row in plan["rows"]:
        if row["blind"] and (found := results[row["cell"]]):
            mean = sum(found.values()) / len(found)
            best[row["questions"]] = max(mean, best.get(row["questions"], mean))
    floors = {}
    for row in plan["rows"]:
        known = [each for each in (best.get(row["questions"]), given) if each is not None]
        if known:
            floors[row["cell"]] = max(known)
    return floors


def question_groups(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Group the cells of a plan's rows: together are those that answer the same questions, or are compared."""
    groups: list[set[str]] = []
    for row in rows:
        linked = {row["cell"], row["questions"], row["compare_to"] or row["cell"]}
        joined = [group for group in groups if not group.isdisjoint(linked)]
        groups = [*(group for group in groups if group not in joined), linked.union(*joined)]
    return [[row["cell"] for row in rows if row["cell"] in group] for group in groups]


def given_floor(plan: Mapping[str, Any]) -> float | None:
    """Return the floor that a study's file gives, in the unit of its verdict metric; None: it gives none."""
    given: float | None = plan["floor"]
    return given / 100 if given is not None and in_points(plan["metrics"]["verdict"]) else given


def recorded_floor(runs: pl.DataFrame, metric: str) -> float | None:
    """Return the highest floor of a metric that runs recorded; None without any."""
    column, _ = floor_metrics(metric)
    floors = runs[column].drop_nulls().to_list() if column in runs.columns else []
    return max(floors, default=None)


def judge_variant(
    runs: pl.DataFrame, plan: Mapping[str, Any], row: Mapping[str, Any], metric: str, floor: float | None
) -> Learning | None:
    """Judge which seeds of a variant are above the best blind answer.

    Args:
        runs: see `frame.run_frame`.
        plan: the stored plan.
        row: of the plan.
        metric: whose floor the runs recorded.
        floor: another one, which counts where it is higher, or of a run that recorded none; see `blind_floors`.

    Returns:
        None where it is not known, where less is better, or where the variant is blind on purpose.

    """
    if row["blind"] or metric_direction(plan, metric) == "min":
        return None
    scores, errors = (results_by_seed(runs, row["cell"], name) for name in floor_metrics(metric))
    results = results_by_seed(runs, row["cell"], metric)
    given = {} if floor is None else dict.fromkeys(results.keys() - scores.keys(), Floor(floor, 0.0))
    floors = {seed: Floor(max(score, floor or score), errors[seed]) for seed, score in scores.items() if seed in errors}
    return judge_learning(results, given | floors)


def judge_variants(
    runs: pl.DataFrame, plan: Mapping[str, Any], metric: str, floors: Mapping[str, float]
) -> dict[str, Learning | None]:
    """Judge each variant of a plan, see `judge_variant`, with its floor of `blind_floors`; return by cell."""
    return {row["cell"]: judge_variant(runs, plan, row, metric, floors.get(row["cell"])) for row in plan["rows"]}


def unjudged_note(
    runs: pl.DataFrame, cell: str, metric: str, results: SeedResults, learning: Learning | None
) -> tuple[str, ...]:
    """Say of how many seeds test examples are too few to tell whether they have learned, although a floor is known."""
    floors = results_by_seed(runs, cell, floor_metrics(metric)[0])
    judged = () if learning is None else (*learning.learned, *learning.not_learned)
    seeds = [seed for seed in results if seed in floors and seed not in judged]
    if not seeds:
        return ()
    floor = format_score(max(floors[seed] for seed in seeds), metric)
    problem = (
        f"so few examples or clusters: all right would be no more than chance above the best blind answer ({floor})"
    )
    return (f"whether it has learned cannot be told ({len(seeds)} of {len(results)} seeds): {problem}",)


def seed_mean(results: SeedResults, alpha: float, metric: str, learning: Learning | None = None) -> MeanInterval | None:
    """Return mean and interval of a cell's results; where some seeds have learned and others not, two clumps."""
    if not results:
        return None
    values = list(results.values())
    found = mean_interval(values, alpha, metric_bounds(metric, values))
    if learning is None or found.clumps:
        return found
    lower = [place for place, seed in enumerate(results) if seed in learning.not_learned]
    clumps = split_seeds(values, lower)
    return separate(found, clumps) if clumps and clumps[1].mean - clumps[0].mean >= APART else found


def metric_bounds(metric: str, values: Collection[float]) -> Bounds | None:
    """Return the bounds of a share of examples; None for other metrics, and for values that are no shares."""
    return SHARES if in_points(metric) and all(within(value, SHARES) for value in values) else None


def difference_bounds(metric: str, values: Collection[float]) -> Bounds | None:
    """Return the bounds of a difference of two shares of examples; None as of `metric_bounds`."""
    return (-1.0, 1.0) if metric_bounds(metric, values) else None


def clump_notes(mean: MeanInterval | None, metric: str) -> tuple[str, ...]:
    """Say which clumps the seeds of a variant fall into."""
    if mean is None or not mean.clumps:
        return ()
    told = " and ".join(f"{clump.n} around {format_score(clump.mean, metric)}" for clump in mean.clumps)
    return (f"its seeds fall into two clumps, {told}: no interval describes them",)


def column_mean(runs: pl.DataFrame, cell: str, column: str) -> float | None:
    """Return the mean of a column over a cell's finished runs; None where none has it."""
    values = list(results_by_seed(runs, cell, column).values())
    return sum(values) / len(values) if values else None
