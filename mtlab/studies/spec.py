"""The keys of an ablation file, checked; nothing is expanded yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from mtlab.config.check import check_config
from mtlab.config.load import ComposedFile, compose
from mtlab.config.options import option
from mtlab.config.plugins import import_plugins
from mtlab.config.schema import Mode, RunConfig
from mtlab.errors import UserError
from mtlab.runs.store import NAME, NAME_RULE, is_sweep
from mtlab.studies.seeds import SequentialSeeds, equivalence_margin, parse_seeds
from mtlab.tracking.settings import TrackerOptions, check_tracking
from mtlab.units import in_points

Design = Literal["grid", "one_at_a_time", "leave_one_out"]
DECLARED = "declared.yaml"  #: in the study's folder of the store: a study that was declared in Python


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Which metric does what."""

    choose: str = option("val/accuracy", "chooses checkpoints; on validation data")
    verdict: str = option("test/accuracy", "what is compared: mean, interval and test are on this metric")
    mode: Mode | None = option(
        None, "whether they are better large or small; null: each as its task says, which a value must not contradict"
    )
    report: list[str] = option(list, "further metrics that the report shows")


@dataclass(frozen=True, kw_only=True)
class RunLimits:
    """Limits beyond which `mtlab run` refuses to start."""

    max_runs: int | None = option(10_000, "most runs of the whole study; null for any number", minimum=1)


@dataclass(frozen=True, kw_only=True)
class ReportRules:
    """How variants are compared."""

    test: Literal["paired_t", "paired_t_examples", "bootstrap"] = option("paired_t_examples", "test of the difference")
    correct: Literal["holm", "none"] = option("holm", "correction for several comparisons with the baseline")
    alpha: float = option(0.05, "level of the test and of the intervals", above=0.0, below=1.0)
    reach: float | None = option(
        None,
        "value of metrics.choose to which learning is timed, in points if it is an accuracy; by default 90 % of the "
        "way to the best final mean",
    )
    floor: float | None = option(
        None,
        "score of a model that does not see text or image, in points if it is an accuracy, where it is known to be "
        "above the most frequent answers: a variant that is not above it has not been trained",
    )
    equivalence: float | None = option(
        None, "largest difference that counts as none, in points for shares of examples; None: never said", above=0.0
    )


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources of one run on a cluster; the local launcher gives each run its threads, and obeys `hours`."""

    cpus: int = option(1, "CPU cores of one run", minimum=1)
    gpus: int | None = option(
        None, "GPUs of one run; by default one for each process where train.device is cuda, else none", minimum=0
    )
    processes: int = option(
        1, "processes that train one run together, each with its share of every batch, its threads and GPU", minimum=1
    )
    memory_gb: float | None = option(None, "memory of one run, in GiB", above=0.0)
    hours: float | None = option(
        None, "time limit of one attempt at a run, in hours; a run that is stopped resumes", above=0.0
    )


@dataclass(frozen=True, kw_only=True)
class StudyKeys:
    """The keys of an ablation file."""

    kind: Literal["ablation"] = option("ablation", "ablation (sweeps have files of their own)")
    name: str = option("", "name of the study: its folder in the store")
    why: str = option("", "the question that the study answers")
    set: Any = option(None, "configuration that all cells share")
    design: Design = option("grid", "grid, one_at_a_time or leave_one_out")
    baseline: Any = option(None, "axis → value: the row's own cell with this changed is what it is compared with")
    axes: Any = option(None, "what varies: axis → values")
    exclude: Any = option(None, "cells to leave out, which need not work: a list of path → value")
    seeds: Any = option(1, "number of seeds (0, 1, …), a list of them, or {until: decided, margin, min, max, …}")
    metrics: Metrics = option(Metrics, "which metric chooses and which one is compared")
    budget: RunLimits = option(RunLimits, "limits")
    report: ReportRules = option(ReportRules, "how variants are compared")
    plugins: list[str] = option(list, "Python modules to import: they register managers, towers, tasks, data sets")
    tracking: Any = option(None, "trackers that metrics and figures are sent to, beside the run folder: name → options")
    launcher: Any = option("local", "where runs are started: local, slurm, ray, or {name, options…}")
    resources: Resources = option(Resources, "what one run gets")
    published: Any = option(None, "results from the literature, shown beside ours: metric → value, or a list by row")
    init_from: Any = option(None, "a checkpoint, or {study: FILE}: start from a parent run's weights")


EMPTY = "is empty, which would leave out what a base gives: leave the key out"


@dataclass(frozen=True)
class StudySpec:
    """A study file, composed and checked."""

    path: Path
    keys: StudyKeys
    source: ComposedFile
    seeds: tuple[int, ...]  #: all that may be asked for
    sequential: SequentialSeeds | None = None  #: where it has as many seeds as the question needs
    margin: float | None = None  #: largest difference that counts as none, in the metric's own unit
    overrides: tuple[str, ...] = ()
    plugin_folder: Path = Path()  #: where its plug-ins lie, beside what is installed
    plugins_allowed: bool = True  #: may they, and those of studies that it starts from, be imported?

    @property
    def name(self) -> str:
        """The study's name."""
        return self.keys.name

    def error(self, problem: str, key: str | None = None) -> UserError:
        """Make a `UserError` that names the file and line of `key`."""
        return self.source.error(problem, key)

    def import_plugins(self) -> None:
        """Import the study's plug-ins.

        Raises:
            UserError: they are not allowed, or one cannot be imported.

        """
        try:
            import_plugins(self.keys.plugins, self.plugin_folder, allowed=self.plugins_allowed)
        except UserError as error:
            raise self.error(error.problem, error.key) from error.__cause__

    @property
    def trackers(self) -> TrackerOptions:
        """The study's trackers and their checked options; its plug-ins are imported.

        Raises:
            UserError: a tracker is unknown, or its options are wrong.

        """
        try:
            return check_tracking({} if self.keys.tracking is None else self.keys.tracking)
        except UserError as error:
            raise self.error(error.problem, error.key) from None


def read_study(path: Path, overrides: Sequence[str] = ()) -> StudySpec:
    """Read, compose and check a study file.

    Raises:
        UserError: anything in it is wrong; file, line and key are named.

    """
    return make_study(compose(path, overrides), overrides)


def make_study(source: ComposedFile, overrides: Sequence[str] = ()) -> StudySpec:
    """Check a composed study.

    Raises:
        UserError: as `read_study`.

    """
    if is_sweep(source.data):
        raise source.error("is a sweep: `mtlab sweep plan` shows it, `mtlab sweep` runs it", "kind")
    check_places(source, StudyKeys)
    if (kind := source.data.get("kind", "ablation")) != "ablation":
        raise source.error(f"{kind!r} is not one of ablation, sweep", "kind")
    try:
        keys = check_config(StudyKeys, source.data)
    except UserError as error:
        raise source.error(error.problem, error.key) from None
    keys = replace(
        keys,
        set=_of_kind(dict, "a mapping", keys.set, source, "set"),
        axes=_of_kind(dict, "a mapping, axis → values", keys.axes, source, "axes"),
        exclude=_of_kind(list, "a list of mappings, path → value", keys.exclude, source, "exclude"),
    )
    if not NAME.fullmatch(keys.name):
        problem = f"needs {NAME_RULE}" if keys.name else "the study needs a name"
        raise source.error(problem, "name" if keys.name else None)
    if keys.baseline is not None and not isinstance(keys.baseline, dict):
        raise source.error(f"expected axis → value, found {keys.baseline!r}", "baseline")
    _check_design(keys, source)
    _check_points(keys, source)
    try:
        seeds, rules = parse_seeds(keys.seeds)
        margin = equivalence_margin(keys.metrics.verdict, keys.report.equivalence, rules, keys.report.test)
    except UserError as error:
        raise source.error(error.problem, error.key) from None
    folder = source.path.resolve().parent
    return StudySpec(source.path, keys, source, seeds, rules, margin, tuple(overrides), folder)


def check_places(source: ComposedFile, keys: type[Any]) -> None:
    """Refuse settings of runs beside `set`, keys of the file under it, empty sections, and a name that is no text.

    Args:
        source: the file.
        keys: its keys, a dataclass.

    Raises:
        UserError: a key is in the wrong place, or has no value of its kind.

    """
    settings, own = ({field.name for field in fields(each)} for each in (RunConfig, keys))
    inside = source.data.get("set", {})
    if inside is None:
        raise source.error(EMPTY, "set")
    if not isinstance(name := source.data.get("name", ""), str):
        raise source.error(f"expected a text, found {name!r}: write it in quotes", "name")
    for key in sorted(settings - {"init_from"}):
        if isinstance(inside, dict) and inside.get(key, "") is None:
            raise source.error(EMPTY, f"set.{key}")
    for key in source.data.keys() & (settings - own):
        raise source.error("is a setting of the runs: write it under `set:`", str(key))
    for key in (inside.keys() if isinstance(inside, dict) else set()) & (own - settings):
        raise source.error(f"is no setting of the runs: write it beside `set:`, or as study.{key}=…", f"set.{key}")


def _of_kind(kind: type[Any], words: str, given: Any, source: ComposedFile, key: str) -> Any:
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise source.error(f"expected {words}, found {given!r}", key)
    return given


def _check_points(keys: StudyKeys, source: ComposedFile) -> None:
    """Refuse values of metrics that no run can have."""
    for key, metric, value in (
        ("report.reach", keys.metrics.choose, keys.report.reach),
        ("report.floor", keys.metrics.verdict, keys.report.floor),
    ):
        if value is None or not in_points(metric):
            continue
        if not 0 < value < 100:
            raise source.error(f"{value:g} points: {metric} lies between 0 and 100", key)
        if value < 1:
            raise source.error(f"{value:g} points are less than 1 %: write {100 * value:g} for {100 * value:g} %", key)


def _check_design(keys: StudyKeys, source: ComposedFile) -> None:
    if keys.design == "leave_one_out" and keys.baseline is not None:
        raise source.error("leave_one_out compares with the full system (`set`): remove `baseline`", "baseline")
    if keys.design == "one_at_a_time" and keys.baseline is None:
        raise source.error("one_at_a_time varies one axis from `baseline`: add it (axis → value)", "design")
