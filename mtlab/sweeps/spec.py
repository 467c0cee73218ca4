"""The schema of a sweep's YAML file: every key is checked, nothing is expanded yet.

The variants (`over`) are written like the axes of an ablation, and read by the same code: each cell is a variant with a
search of its own.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from mtlab.config.check import check_config, to_plain
from mtlab.config.credentials import find_credentials
from mtlab.config.load import ComposedFile, compose
from mtlab.config.options import option
from mtlab.config.schema import Mode
from mtlab.errors import UserError, nearest
from mtlab.runs.results import is_test
from mtlab.studies.seeds import MOST, UNTIL, SequentialSeeds, equivalence_margin, parse_seeds, seed_count
from mtlab.studies.spec import Metrics, ReportRules, Resources, StudyKeys, StudySpec, check_places, make_study
from mtlab.sweeps.algorithms import Pruner, Sampler, parse_pruner, parse_sampler
from mtlab.sweeps.space import DEFAULT, parse_space
from mtlab.units import in_points

FIRST_FINAL_SEED = 1000  #: seeds from here on are never used by trials
MAX_NAME = 74  #: characters of a sweep's name: its winners' study has "-final" after it
JOURNAL = "journal"  #: the storage that is a file in the study's folder

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SeedRules:
    """The seeds of a trial."""

    n: int = option(1, "seeds 0 to n − 1 of each trial", minimum=1, maximum=FIRST_FINAL_SEED)
    reduce: Literal["mean", "median", "worst"] = option("mean", "reduction of the objective over the seeds of a trial")


@dataclass(frozen=True, kw_only=True)
class SearchBudget:
    """How much each variant may be searched: the same for all."""

    trials: int = option(20, "trials of each variant", minimum=1, maximum=10_000)
    hours: float | None = option(None, "training hours after which a variant begins no further trial", above=0.0)


@dataclass(frozen=True, kw_only=True)
class FinalRules:
    """How the best configuration of each variant is evaluated: `finally:`."""

    retrain: Literal["best", "front"] = option(
        "best", "the best of each variant; with several objectives: by the first one, or all that no other beats"
    )
    seeds: Any = option(
        5, f"number of fresh seeds, from {FIRST_FINAL_SEED} on, or {{until: decided, …}} as in an ablation"
    )
    evaluate: Literal["test", "val"] = option("test", "data that the winners are compared on")

    @property
    def sequential(self) -> SequentialSeeds | None:
        """The rules of seeds until decided; None for a fixed number."""
        return parse_seeds(self.study_seeds)[1]

    @property
    def study_seeds(self) -> Any:
        """The seeds as the study of the winners writes them."""
        if isinstance(self.seeds, Mapping):
            return {"first": FIRST_FINAL_SEED, **self.seeds}
        return list(range(FIRST_FINAL_SEED, FIRST_FINAL_SEED + self.seeds))

    @property
    def seeds_words(self) -> str:
        """How many fresh seeds, in words."""
        rules = self.sequential
        return f"{self.seeds} fresh seeds" if rules is None else f"{rules.min} to {rules.max} fresh seeds until decided"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A metric to optimise."""

    metric: str
    mode: Mode | None = None  #: None: not written, and the task that knows it not asked yet


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A constraint on a metric: a trial that violates it cannot win."""

    max: float | None = option(None, "largest value allowed")
    min: float | None = option(None, "smallest value allowed")

    def excess(self, value: float) -> float:
        """Return by how much a value violates the constraint: above 0 if it does."""
        over = value - self.max if self.max is not None else -math.inf
        return max(over, self.min - value if self.min is not None else -math.inf)

    def __str__(self) -> str:
        parts = [f"≤ {self.max:g}"] if self.max is not None else []
        return " and ".join([*parts, *([f"≥ {self.min:g}"] if self.min is not None else [])])


@dataclass(frozen=True, kw_only=True)
class SweepKeys:
    """The keys of a sweep's file; `finally` is read apart, as Python has the word for itself."""

    kind: Literal["sweep"] = option("sweep", "sweep (ablations have files of their own)")
    name: str = option("", "name of the sweep: its folder in the store")
    why: str = option("", "the question that it answers")
    set: Any = option(None, "configuration that all trials share")
    over: Any = option(None, "the variants, written like an ablation's axes: each cell has a search of its own")
    baseline: Any = option(None, "axis → value: the variant that the others are compared with, once all are tuned")
    space: Any = option(None, "what is searched: setting → distribution, or default")
    objective: Any = option(None, "metric, {metric, mode}, or a list of them")
    constraints: Any = option(None, "metric → {max: …} or {min: …}")
    start_from: Any = option(None, "points that are tried first: default, or setting → value; or a list of them")
    seeds: Any = option(1, "number of seeds of each trial, or {n, reduce}")
    sampler: Any = option("tpe", "what proposes trials: tpe, gp, cmaes, nsga2, random, qmc, or {name, seed, options…}")
    pruner: Any = option("none", "what stops trials early: none, median, hyperband, wilcoxon, or {name, options…}")
    budget: SearchBudget = option(SearchBudget, "how much each variant may be searched")
    storage: str = option(JOURNAL, "journal (a file in the store), or postgresql://USER@HOST/DATABASE")
    metrics: Metrics = option(Metrics, "which metric chooses checkpoints, and which one `finally` compares")
    report: ReportRules = option(ReportRules, "how the tuned variants are compared")
    plugins: list[str] = option(list, "Python modules to import: they register managers, towers, tasks, data sets")
    tracking: Any = option(None, "trackers that metrics and figures are sent to, beside the run folder: name → options")
    launcher: Any = option("local", "where runs are executed: local, slurm, ray, or {name, options…}")
    resources: Resources = option(Resources, "resources of one run")
    init_from: Any = option(None, "a checkpoint, or {study: FILE}: start from a parent run's weights")


@dataclass(frozen=True)
class Sweep:
    """A sweep's file, composed and checked."""

    keys: SweepKeys
    study: StudySpec  #: its variants, as an ablation that lists them on its axes
    space: Mapping[str, Any]  #: path → `Parameter`, or `DEFAULT`
    objectives: tuple[Objective, ...]  #: as written; those of a `PreparedSweep` have a mode
    constraints: Mapping[str, Constraint]
    start_from: tuple[Any, ...]  #: `DEFAULT`, or setting → value
    seeds: SeedRules
    sampler: Sampler
    pruner: Pruner
    final: FinalRules | None

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.keys.name

    @property
    def path(self) -> Path:
        """The sweep's file."""
        return self.study.path

    def error(self, problem: str, key: str | None = None) -> UserError:
        """Make a `UserError` that names the file and line of `key`."""
        return self.study.error(problem, key)


_AXES, _OVER = (re.compile(rf"^{word}(?![^.\[])") for word in ("axes", "over"))


class _Source(ComposedFile):
    """A sweep's file, read as an ablation whose axes are under `over`."""

    def error(self, problem: str, key: str | None = None) -> UserError:
        """Make a `UserError`, see `ComposedFile.error`."""
        return super().error(problem, None if key is None else _AXES.sub("over", key))


def read_sweep(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read, compose and check a sweep's file.

    Raises:
        UserError: anything in it is wrong; file, line and key are named.

    """
    source = compose(path, overrides)
    data = dict(source.data)
    if data.get("kind", "sweep") != "sweep":
        raise source.error(f"is no sweep but kind: {data['kind']} (`mtlab run` takes ablations)", "kind")
    if "axes" in data and not data.keys() & {"over", "space"}:
        raise source.error("is a study, as it has axes: `mtlab run` runs it", "axes")
    check_places(source, SweepKeys)
    final = _final(source, data.pop("finally", {}))
    if len(str(data.get("name", ""))) > MAX_NAME:
        raise source.error(f"at most {MAX_NAME} characters, as the study of its winners is named after it", "name")
    keys = _read_key(source, None, lambda: check_config(SweepKeys, data))
    seeds = _read_key(source, "seeds", lambda: _seeds(keys.seeds))
    if keys.space is None:
        raise source.error("a sweep needs a space: setting → distribution, or default", "space")
    space = _read_key(source, "space", lambda: parse_space(keys.space))
    objectives = _objectives(source, keys)
    several = len(objectives)
    if final is not None and final.retrain == "front" and several < 2:
        raise source.error("front needs several objectives: with one, use best", "finally.retrain")
    _check_storage(source, keys.storage)
    _check_final(source, keys, final)
    return Sweep(
        keys=keys,
        study=_as_ablation(source, data, seeds.n, overrides),
        space=space,
        objectives=objectives,
        constraints=_constraints(source, keys.constraints),
        start_from=_start_from(source, keys.start_from),
        seeds=seeds,
        sampler=_read_key(source, "sampler", lambda: parse_sampler(keys.sampler, objectives=several)),
        pruner=_read_key(source, "pruner", lambda: parse_pruner(keys.pruner, objectives=several, seeds=seeds.n)),
        final=final,
    )


def _read_key(source: ComposedFile, key: str | None, read: Callable[[], T]) -> T:
    """Call `read`, and add file and line to what it raises."""
    try:
        return read()
    except UserError as error:
        inner = ".".join(part for part in (key, error.key) if part)
        raise source.error(error.problem, inner or None) from None


def _as_ablation(source: ComposedFile, data: Mapping[str, Any], seeds: int, overrides: Sequence[str]) -> StudySpec:
    shared = {field.name for field in dataclasses.fields(StudyKeys)} & data.keys()
    written = {key: data[key] for key in shared - {"budget"}}
    written |= {"kind": "ablation", "axes": data.get("over"), "seeds": seeds}
    as_axes = {_OVER.sub("axes", key): place for key, place in source.locations.items()}
    return make_study(_Source(source.path, written, source.locations | as_axes), overrides)


def _seeds(given: Any) -> SeedRules:
    if isinstance(given, Mapping):
        return check_config(SeedRules, given)
    if (count := seed_count(given)) is None:
        raise UserError(f"expected a number or {{n, reduce}}, found {given!r}")
    return check_config(SeedRules, {"n": count})


def _final(source: ComposedFile, given: Any) -> FinalRules | None:
    if given is None or given == "none":
        return None
    if not isinstance(given, Mapping):
        raise source.error(f"expected none or {{retrain, seeds, evaluate}}, found {given!r}", "finally")
    final = _read_key(source, "finally", lambda: check_config(FinalRules, given))
    if not isinstance(final.seeds, Mapping):
        count = seed_count(final.seeds)
        if count is None or not 1 <= count <= MOST:
            problem = f"expected a number from 1 to {MOST:,}, or {{until: {UNTIL}, …}}, found {final.seeds!r}"
            raise source.error(problem, "finally.seeds")
        return dataclasses.replace(final, seeds=count)
    if _read_key(source, "finally", lambda: parse_seeds(final.study_seeds))[0][0] < FIRST_FINAL_SEED:
        raise source.error(f"fresh seeds start at {FIRST_FINAL_SEED}", "finally.seeds.first")
    return final


def _check_final(source: ComposedFile, keys: SweepKeys, final: FinalRules | None) -> None:
    """Refuse seeds until decided where the winners could not be compared."""
    if final is None:
        return
    verdict, rules = verdict_of_winners(final, keys.metrics.verdict), final.sequential
    try:
        equivalence_margin(verdict, keys.report.equivalence, rules, keys.report.test)
    except UserError as error:
        key = error.key or ""
        raise source.error(error.problem, f"finally.{key}" if key.startswith("seeds") else key) from None
    if rules is None:
        return
    if final.retrain == "front":
        raise source.error("a front has no baseline: give a number, or `retrain: best`", "finally.seeds")
    if keys.baseline is None:
        problem = "nothing is compared, so nothing can be decided: add `baseline` (axis → value)"
        raise source.error(problem, "finally.seeds.until")


def verdict_of_winners(final: FinalRules, verdict: str) -> str:
    """Return the metric that the winners are compared on."""
    return f"{final.evaluate}/{verdict.partition('/')[2]}"


def _objectives(source: ComposedFile, keys: SweepKeys) -> tuple[Objective, ...]:
    chosen = Objective(metric=keys.metrics.choose, mode=keys.metrics.mode)
    if keys.objective is None:
        return (chosen,)
    listed = keys.objective if isinstance(keys.objective, list) else [keys.objective]
    if not listed:
        raise source.error("names no metric", "objective")
    found: list[Objective] = []
    for index, given in enumerate(listed):
        key = f"objective[{index}]" if isinstance(keys.objective, list) else "objective"
        found.append(_objective(source, given, chosen, key))
        if found[-1].metric in [other.metric for other in found[:-1]]:
            raise source.error(f"{found[-1].metric} is repeated", key)
    if all(each.metric.startswith("cost/") for each in found):
        raise source.error("a search for low cost alone needs no training: add a val/… metric", "objective")
    if found[0].metric.startswith("cost/"):
        raise source.error("the first objective chooses the best trial: put the cost behind the metric", "objective[0]")
    return tuple(found)


def _objective(source: ComposedFile, given: Any, chosen: Objective, key: str) -> Objective:
    written = {"metric": given} if isinstance(given, str) else given
    if not isinstance(written, Mapping) or not isinstance(written.get("metric"), str):
        raise source.error(f"expected a metric or {{metric, mode}}, found {given!r}", key)
    for word in written:
        if word not in ("metric", "mode"):
            raise source.error(f"unknown key; {nearest(word, ('metric', 'mode'))}", f"{key}.{word}")
    metric = written["metric"]
    refuse_test(source, metric, key)
    modes: Mapping[Any, Mode] = {"max": "max", "min": "min"}
    mode = written.get("mode", chosen.mode if metric == chosen.metric else None)
    if mode not in (*modes, None):
        raise source.error(f"expected max or min, found {mode!r}", f"{key}.mode")
    return Objective(metric=metric, mode=modes.get(mode))


def refuse_test(source: ComposedFile, metric: str, key: str) -> None:
    """Refuse a metric that a search may not use.

    Raises:
        UserError: it is of test data, or unknown.

    """
    if is_test(metric):
        problem = f"{metric}: a search may not see test data; use val/… or train/… (`finally` evaluates on test)"
        raise source.error(problem, key)
    if not metric.startswith(("val/", "train/", "cost/")):
        raise source.error(f"{metric!r} is no metric of a search: it starts with val/, train/ or cost/", key)


def _constraints(source: ComposedFile, given: Any) -> dict[str, Constraint]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not given:
        raise source.error(f"expected metric → {{max: …}} or {{min: …}}, found {given!r}", "constraints")
    found: dict[str, Constraint] = {}
    for metric, written in given.items():
        key = f"constraints.{metric}"
        refuse_test(source, metric, key)
        unbounded = f"expected {{max: …}} or {{min: …}}, found {written!r}"
        if not isinstance(written, Mapping):
            raise source.error(unbounded, key)
        bound = _read_key(source, key, lambda written=written: check_config(Constraint, written))  # type: ignore[misc]
        if bound.max is None and bound.min is None:
            raise source.error(unbounded, key)
        if bound.max is not None and bound.min is not None and bound.min > bound.max:
            raise source.error(f"nothing is {bound}", key)
        for end, limit in (("max", bound.max), ("min", bound.min)):
            if limit is not None and in_points(metric) and not 0 <= limit <= 1:
                raise source.error(f"{limit:g} is no share, from 0 to 1: 60 points are 0.6", f"{key}.{end}")
        found[metric] = bound
    return found


def _start_from(source: ComposedFile, given: Any) -> tuple[Any, ...]:
    if given is None:
        return ()
    listed = given if isinstance(given, list) else [given]
    for index, point in enumerate(listed):
        if point != DEFAULT and not (isinstance(point, Mapping) and point):
            key = f"start_from[{index}]" if isinstance(given, list) else "start_from"
            raise source.error(f"expected default or setting → value, found {point!r}", key)
    return tuple(listed)


def _check_storage(source: ComposedFile, storage: str) -> None:
    if storage == JOURNAL:
        return
    parts = urlsplit(storage)
    if parts.scheme not in ("postgresql", "postgres"):
        problem = f"{storage!r}: expected journal (a file in the store), or postgresql://USER@HOST/DATABASE"
        raise source.error(problem, "storage")
    if parts.password is not None or any(find_credentials(storage)):
        problem = "leave the password out, the file is stored with the results: PGPASSWORD or ~/.pgpass give it"
        raise source.error(problem, "storage")
    if not parts.path.strip("/"):
        raise source.error("names no database: postgresql://USER@HOST/DATABASE", "storage")


def rules_to_json(sweep: Sweep) -> dict[str, Any]:
    """Return what the searches of all variants share, as plain data: it may not change once a search has begun."""
    return {
        "objectives": [to_plain(objective) for objective in sweep.objectives],
        "constraints": {metric: to_plain(bound) for metric, bound in sweep.constraints.items()},
        "seeds": to_plain(sweep.seeds),
        "sampler": sweep.sampler.to_json(),
        "pruner": sweep.pruner.to_json(),
        "start_from": list(sweep.start_from),
    }
