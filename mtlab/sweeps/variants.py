"""The variants of a sweep: each with its fixed settings and its search space.

Errors that a search would meet later are raised at plan time: each end of a range, each choice is tried where it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mtlab.config.load import COMMAND_LINE
from mtlab.errors import UserError, nearest
from mtlab.resolution.checks import processes_problem
from mtlab.resolution.defaults import fill_defaults
from mtlab.resolution.metrics import direction, direction_problem, family_problem, is_metric, list_metrics
from mtlab.resolution.nodes import known_paths, node_entry, paths_without_effect
from mtlab.resolution.resolve import resolve, resolve_cell
from mtlab.runs.results import is_test
from mtlab.studies.axes import holds, plain_label, scope, with_settings
from mtlab.studies.cell_cost import CostFunction, cell_cost
from mtlab.studies.cell_rules import narrowed, one_by_one, overwritten, touches
from mtlab.studies.cells import Cell, ParentStudies, make_cell, make_cells
from mtlab.studies.expand import StudyRow, shared_settings
from mtlab.studies.plan import Plan, check_metrics, refuse_duplicates, runs_of, uneven_problem
from mtlab.studies.seeds import parse_seeds
from mtlab.studies.spec import RunLimits
from mtlab.sweeps.space import DEFAULT, SearchParameter, default_point, encode_point, parse_parameter
from mtlab.sweeps.spec import Objective, Sweep, rules_to_json, verdict_of_winners

UNSEARCHED = {
    "metrics": "metrics decide what is compared: they cannot be searched",
    "data": "the data decide what is measured: they cannot be searched",
    "task.name": "the task decides what is measured: it cannot be searched",
}


@dataclass(frozen=True)
class Variant:
    """One variant of a sweep."""

    cell: Cell  #: of the settings without any search
    space: tuple[SearchParameter, ...]  #: in the order in which they are suggested
    start_points: tuple[Mapping[str, Any], ...]  #: in Optuna's values; the sampler adds what a point leaves out
    remarks: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Its label in tables."""
        return self.cell.row.label

    @property
    def conditional(self) -> bool:
        """Do some of its parameters have a condition?"""
        return any(each.conditions for each in self.space)


@dataclass(frozen=True)
class PreparedSweep:
    """A sweep, expanded into variants."""

    sweep: Sweep
    variants: tuple[Variant, ...]
    price: CostFunction = cell_cost  #: what an example of a trial costs
    families: ParentStudies = field(default_factory=ParentStudies)  #: parent studies, expanded once

    @property
    def as_plan(self) -> Plan:
        """The plan of the variants without any search: what a machine must be able to run."""
        cells = tuple(variant.cell for variant in self.variants)
        return Plan(self.sweep.study, cells, runs_of(cells, self.sweep.study.seeds))

    def definition(self, variant: Variant) -> dict[str, Any]:
        """Return what a variant's search depends on: it may not change once the search has begun."""
        return {
            "variant": variant.cell.identity.hashed,
            "space": {each.path: each.to_json() for each in variant.space},
            **rules_to_json(self.sweep),
        }


def prepare(sweep: Sweep, price: CostFunction = cell_cost) -> PreparedSweep:
    """Expand a sweep into variants, and try the ends of their search spaces.

    Raises:
        UserError: anything in variants, spaces, start points, objectives or constraints is wrong.

    """
    families = ParentStudies()
    cells = make_cells(sweep.study, price, families)
    refuse_duplicates(sweep.study, cells)
    sweep = replace(sweep, objectives=_objectives(sweep, cells))
    _check_metrics(sweep, cells)
    _check_paths(sweep)
    _check_conditions(sweep, cells)
    _refuse_set(sweep)
    _refuse_many_final_runs(sweep, len(cells))
    spaces = [_space(sweep, cell) for cell in cells]
    for path, written in sweep.space.items():
        unmet = written != DEFAULT and not any(each.path == path for space in spaces for each in space)
        if unmet and _written_here(sweep, f"space.{path}") and not narrowed(sweep.study, written.conditions):
            raise sweep.error("no variant meets its condition", f"space.{path}")
    for cell, space in zip(cells, spaces, strict=True):
        if not space:
            raise sweep.error(f"{cell.row.label}: nothing is searched: give it a setting of its own", "space")
        _try_ends(sweep, cell, space, price, families)
        _refuse_uneven(sweep, cell, space)
    _check_points(sweep, spaces)
    variants = [Variant(cell, space, *_points(sweep, cell, space)) for cell, space in zip(cells, spaces, strict=True)]
    return PreparedSweep(sweep, tuple(variants), price, families)


def _refuse_many_final_runs(sweep: Sweep, variants: int) -> None:
    """Refuse now what the study of the winners would refuse after the whole search."""
    if sweep.final is None:
        return
    seeds, limit = len(parse_seeds(sweep.final.study_seeds)[0]), RunLimits().max_runs
    if limit is not None and variants * seeds > limit:
        asked = f"{variants * seeds:,} runs (winners: {variants}, seeds of each: {seeds:,})"
        raise sweep.error(f"{asked}; at most {limit:,}: ask for fewer", "finally.seeds")


def _objectives(sweep: Sweep, cells: Sequence[Cell]) -> tuple[Objective, ...]:
    """Return the objectives, each with the way in which it is better."""
    seen, known, found = _seen_metrics(cells), [cell.row.resolved.metrics for cell in cells], []
    for index, objective in enumerate(sweep.objectives):
        key = f"objective[{index}]" if isinstance(sweep.keys.objective, list) else "objective"
        if not is_metric(objective.metric, seen):
            raise sweep.error(f"its task has no metric {objective.metric!r}; {list_metrics(seen)}", key)
        if problem := direction_problem(objective.metric, known, objective.mode) or _no_family(objective.metric, cells):
            raise sweep.error(problem, key)
        one = next(each for each in known if is_metric(objective.metric, each))
        found.append(replace(objective, mode=direction(objective.metric, one)))
    return tuple(found)


def _seen_metrics(cells: Sequence[Cell]) -> list[str]:
    """Return the metrics that a search may see."""
    return sorted({name for cell in cells for name in cell.row.resolved.metrics if not is_test(name)})


def _check_metrics(sweep: Sweep, cells: Sequence[Cell]) -> None:
    seen = _seen_metrics(cells)
    if sweep.final is not None:  # the winners' study would meet it after the search
        check_metrics(sweep.study, cells, verdict_of_winners(sweep.final, sweep.keys.metrics.verdict))
        if sweep.final.sequential is not None and all(cell.row.compare_to is None for cell in cells):
            problem = "nothing is compared, so nothing can be decided: add a second variant to `over`"
            raise sweep.error(problem, "finally.seeds.until")
    for metric in sweep.constraints:
        if not is_metric(metric, seen):
            raise sweep.error(f"its task has no such metric; {list_metrics(seen)}", f"constraints.{metric}")
        if no_family := _no_family(metric, cells):
            raise sweep.error(no_family, f"constraints.{metric}")


def _no_family(metric: str, cells: Sequence[Cell]) -> str | None:
    """Say why a known metric of a family is measured in no variant that has the metric; None if it is in one."""
    having = [cell for cell in cells if is_metric(metric, cell.row.resolved.metrics)]
    problems = [family_problem(metric, cell.config) for cell in having]
    return problems[0] if all(problems) else None


def _check_paths(sweep: Sweep) -> None:
    known, without_effect = known_paths(), paths_without_effect()

    def check(path: str, key: str) -> None:
        if path == "seed":
            raise sweep.error("seeds are given by `seeds:`, for all trials alike", key)
        if path not in known:
            raise sweep.error(f"no setting is called {path!r}; {nearest(path, known)}", key)

    earlier: list[str] = []
    for path, written in sweep.space.items():
        key = f"space.{path}"
        check(path, key)
        for unsearched, why in UNSEARCHED.items():
            if path == unsearched or path.startswith(f"{unsearched}."):
                raise sweep.error(why, key)
        if path in without_effect:
            raise sweep.error("it changes no result: there is nothing to search", key)
        inner = next((other for other in earlier if other.startswith(f"{path}.")), None)
        if inner is not None and written != DEFAULT:  # which leaves out what is searched already
            raise sweep.error(f"replaces {inner}, which is searched before it: put {path} first", key)
        if written != DEFAULT:
            for condition in written.conditions:
                check(condition, f"{key}.{'when' if condition in written.when else 'unless'}.{condition}")
                late = [other for other in sweep.space if other not in earlier and _decides(other, sweep, condition)]
                if late:
                    raise sweep.error(f"depends on {late[0]}, which must stand before it", key)
        earlier.append(path)


def _check_conditions(sweep: Sweep, cells: Sequence[Cell]) -> None:
    """Refuse a value in a condition that no variant has, where nothing is searched that could give it.

    The command line may leave out its variants, and so may a file that has the parameter from its base.
    """
    configs = [cell.row.config for cell in cells]
    for path, written in sweep.space.items():
        for word in ("when", "unless") if written != DEFAULT else ():
            if not _written_here(sweep, f"space.{path}.{word}"):
                continue
            for setting, wanted in getattr(written, word).items():
                if any(_decides(other, sweep, setting) for other in sweep.space) or narrowed(sweep.study, [setting]):
                    continue
                for each in one_by_one(wanted, setting, configs):
                    if not any(holds({setting: each}, config) for config in configs):
                        raise sweep.error(f"no variant has {each!r}", f"space.{path}.{word}.{setting}")


def _written_here(sweep: Sweep, key: str) -> bool:
    """Return whether a key of the space is written in this file, or on the command line, and not in a base."""
    return sweep.study.source.location(key)[0] in (sweep.path, COMMAND_LINE)


def _decides(path: str, sweep: Sweep, condition: str) -> bool:
    """Can a parameter at `path` change the setting that a condition refers to?"""
    if sweep.space[path] == DEFAULT:
        return condition.startswith("manager.") and condition != "manager.name"
    return touches(condition, scope(path))


def _refuse_set(sweep: Sweep) -> None:
    """Refuse a space that would overwrite a setting of this file or the command line."""
    shared = shared_settings(sweep.study)
    for path, written in sweep.space.items():
        given = [] if written == DEFAULT else [{path: value} for value in written.values]
        if key := overwritten(sweep.study, shared, given):
            raise sweep.error(f"is searched too (space.{path}): remove one of the two", key)


def _space(sweep: Sweep, cell: Cell) -> tuple[SearchParameter, ...]:
    """Return the search space of one variant, without parameters whose conditions its fixed settings do not meet."""
    own = _own(sweep, cell)
    listed = [each for written in sweep.space.values() for each in (own if written == DEFAULT else [written])]
    found: list[SearchParameter] = []
    for each in listed:
        searched = {path for path in each.conditions if any(touches(path, scope(other.path)) for other in found)}
        if not _possible(each, searched, cell.row.config):
            continue
        if not each.own:
            _refuse_own_value(sweep, cell, each)
        found.append(each if searched else replace(each, when={}, unless={}))
    return tuple(found)


def _possible(each: SearchParameter, searched: Collection[str], config: Mapping[str, Any]) -> bool:
    """Can a parameter's conditions be met, given the settings that are not searched?"""
    when = {path: value for path, value in each.when.items() if path not in searched}
    unless = {path: value for path, value in each.unless.items() if path not in searched}
    barred = bool(each.unless) and len(unless) == len(each.unless) and holds(unless, config)
    return holds(when, config) and not barred


def _own(sweep: Sweep, cell: Cell) -> list[SearchParameter]:
    """Return the manager's own space, without options that the file or the variant sets or searches itself."""
    if DEFAULT not in sweep.space.values():
        return []
    manager = cell.row.config["manager"]
    set_here = {
        key.removeprefix("set.")
        for key, (where, _) in sweep.study.source.locations.items()
        if key.startswith("set.manager.") and where in (sweep.path, COMMAND_LINE)
    }
    given = set_here | _paths_of(cell) | sweep.space.keys()
    space = node_entry("manager", manager).cls.search_space()
    try:
        return [
            parse_parameter(f"manager.{option}", distribution, own=True)
            for option, distribution in space.items()
            if f"manager.{option}" not in given
        ]
    except UserError as error:
        raise sweep.error(f"the space of manager {manager['name']!r} is malformed: {error}", "space.manager") from None


def _paths_of(cell: Cell) -> set[str]:
    """Return the paths that a variant's axis values set, options of whole nodes included."""
    paths: set[str] = set()
    for value in cell.row.values.values():
        for path, setting in value.settings.items():
            inner = {f"{path}.{option}" for option in setting} if isinstance(setting, Mapping) else set()
            paths |= {path, *inner}
    return paths


def _refuse_own_value(sweep: Sweep, cell: Cell, each: SearchParameter) -> None:
    clash = [path for path in _paths_of(cell) if path == each.path or path.startswith(f"{each.path}.")]
    if clash:
        problem = f"{cell.row.label} sets {clash[0]} itself (over): remove one of the two"
        raise sweep.error(problem, f"space.{each.path}")


def _try_ends(
    sweep: Sweep, cell: Cell, space: Sequence[SearchParameter], price: CostFunction, families: ParentStudies
) -> None:
    """Resolve the variant with each end of each range and each choice in turn, parents included.

    Of a `float`, one value more: the ends alone may be whole numbers.
    """
    for index, each in enumerate(space):
        config = _enabled(sweep, cell, each, space[:index])
        for value in each.grid(2) if each.kind == "float" else each.values:
            try:
                tried = resolve_cell(with_settings(config, {each.path: value}))
                if cell.parent is not None:
                    make_cell(sweep.study, StudyRow(cell.row.values, tried), price, families)
            except UserError as error:
                key = f"space.{'manager' if each.own else each.path}"
                hint = ""
                if "has no such option" in error.problem:
                    hint = f" (limit it with `when: {{{each.path.partition('.')[0]}.name: …}}`)"
                at = "" if error.key in (None, each.path) else f"{error.key}: "
                problem = f"{cell.row.label} refuses {each.path} {plain_label(value)}: {at}{error.problem}{hint}"
                raise sweep.error(problem, key) from None


def _refuse_uneven(sweep: Sweep, cell: Cell, space: Sequence[SearchParameter]) -> None:
    """Refuse a space with batches that several processes cannot share evenly."""
    processes = sweep.keys.resources.processes
    if processes == 1:
        return
    if cell.parent is not None and (problem := uneven_problem(processes, cell.parent)):
        raise sweep.error(f"{problem}, from which {cell.row.label} starts", "resources.processes")
    deciding = [each for each in space if any(touches(each.path, path) for path in ("train.batch", "task"))]
    drawn = next((each for each in deciding if touches(each.path, "train.batch") and not each.conditions), None)
    # Where a batch size is drawn, the variant's own is never used.
    if drawn is None and (problem := processes_problem(processes, cell.config)):
        raise sweep.error(f"{problem} ({cell.row.label})", "resources.processes")
    for each in sorted(deciding, key=lambda each: each is not drawn):
        config = _enabled(sweep, cell, each, space[: space.index(each)])
        if drawn is not None and drawn is not each:
            config = with_settings(config, {drawn.path: drawn.values[0]})
        for value in each.grid(processes):
            tried = fill_defaults(with_settings(config, {each.path: value}))
            if problem := processes_problem(processes, tried):
                problem = f"{cell.row.label} may draw {plain_label(value)}: {problem} (resources.processes)"
                hint = "" if each.kind == "choice" else "; say choice: […]"
                if each.kind == "int" and not each.log:
                    hint = f"; start at a multiple of {processes}, and say step: {processes}"
                raise sweep.error(problem + hint, f"space.{each.path}")


def _enabled(sweep: Sweep, cell: Cell, each: SearchParameter, earlier: Sequence[SearchParameter]) -> Mapping[str, Any]:
    """Return the variant's settings, changed so that the conditions of a parameter are met."""
    candidates: list[Mapping[str, Any]] = [cell.row.config]
    for other in earlier:
        if any(touches(path, scope(other.path)) for path in each.conditions):
            changed = [with_settings(config, {other.path: value}) for config in candidates for value in other.values]
            candidates += [config for config in map(_filled, changed) if config is not None]
    for config in candidates:
        if each.applies(config):
            return config
    raise sweep.error(f"{cell.row.label}: no value of what it depends on meets its condition", f"space.{each.path}")


def _filled(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        return fill_defaults(config)
    except UserError:
        return None


def _check_points(sweep: Sweep, spaces: Sequence[Sequence[SearchParameter]]) -> None:
    searched = sweep.space.keys() | {each.path for space in spaces for each in space}
    for index, point in enumerate(sweep.start_from):
        for path in point if point != DEFAULT else ():
            if path not in searched:
                key = f"start_from[{index}].{path}" if isinstance(sweep.keys.start_from, list) else f"start_from.{path}"
                raise sweep.error(f"is not searched; {nearest(path, searched)}", key)


def _points(sweep: Sweep, cell: Cell, space: Sequence[SearchParameter]) -> tuple[tuple[Mapping[str, Any], ...], Any]:
    points: list[Mapping[str, Any]] = []
    remarks: list[str] = []
    by_path = {each.path: each for each in space}
    for index, point in enumerate(sweep.start_from):
        if point == DEFAULT:
            found, problems = default_point(space, cell.row.config, resolve)
            points.append(found)
            remarks += [f"{cell.row.label}: start_from default: {each}; it is drawn" for each in problems]
            continue
        try:
            given = {path: value for path, value in point.items() if path in by_path}
            points.append(dict(encode_point(by_path, given)))
        except UserError as error:
            key = f"start_from[{index}]" if isinstance(sweep.keys.start_from, list) else "start_from"
            raise sweep.error(error.problem, f"{key}.{error.key}") from None
    return tuple(points), tuple(remarks)
