"""From a study to its cells: the three designs, conditions, exclusions, and what each row is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mtlab.config.load import COMMAND_LINE
from mtlab.config.schema import NODES
from mtlab.errors import UserError, nearest
from mtlab.resolution.defaults import fill_defaults, fill_what_fits
from mtlab.resolution.nodes import known_paths
from mtlab.resolution.resolve import ResolvedCell, resolve_cell
from mtlab.studies.axes import Axis, Value, parse_axes, scope, with_settings
from mtlab.studies.cell_rules import (
    check_exclusions,
    is_excluded,
    narrowed,
    overwritten,
    refuse_unused,
    touches,
    written_here,
)
from mtlab.studies.spec import StudySpec

Targets = Mapping[int, Value]  #: of an axis of `baseline`: value (by identity) → the value that it is compared with


@dataclass(frozen=True)
class StudyRow:
    """One variant of a study: a row of its table."""

    values: Mapping[str, Value]  #: axis → value, only the axes that it has
    resolved: ResolvedCell
    compare_to: int | None = None  #: index of the row that it is compared with
    baseline: bool = False
    note: str | None = None  #: of the report about the comparison
    axes_named: bool = False  #: whether labels name their axes, as another row would be called alike

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved configuration, `train.length` as written."""
        return self.resolved.config

    @property
    def labels(self) -> Mapping[str, str]:
        """Axis → the label of the row's value on it."""
        return {axis: _value_label(axis, value, named=self.axes_named) for axis, value in self.values.items()}

    @property
    def label(self) -> str:
        """The row's name, made of the labels of its values."""
        return " · ".join(self.labels.values()) or "base"


def expand(study: StudySpec) -> tuple[StudyRow, ...]:
    """Expand a study into rows, each checked as a whole.

    Raises:
        UserError: anything in the axes, conditions, exclusions, baseline or in a cell that they give is wrong.

    """
    try:
        axes = parse_axes(study.keys.axes)
    except UserError as error:
        raise study.error(error.problem, error.key) from None
    shared = shared_settings(study)
    _check_paths(study, axes)
    _refuse_overwritten(study, axes, shared)
    targets = _baseline_values(study, axes)
    if study.keys.design == "grid":
        assignments = _grid(axes, shared)
    else:
        base = {axis: next(iter(values.values())) for axis, values in targets.items()}
        assignments = list(_one_change(axes, shared, base))
    drafts, kept = [], []
    for values in assignments:
        config, problem = _draft(_with_values(shared, axes, values))
        drafts.append((values, config))
        if not is_excluded(study, axes, values, config):  # what is left out need not work: often that is why
            kept.append(values)
            if problem is not None:
                raise _locate(study, problem, values)
    refuse_unused(study, axes, drafts)
    rows = [StudyRow(values, _resolve(study, shared, axes, values)) for values in kept]
    check_exclusions(study, axes, [*drafts, *((row.values, row.config) for row in rows)])
    rows = [row for row in rows if not is_excluded(study, axes, row.values, row.config)]
    if not rows:
        raise study.error("leaves no cell", "exclude")
    if study.keys.design == "grid":
        return _with_labels_of_their_own(study, [*_against_own_baseline(study, axes, rows, targets)])
    if rows[0].values is not assignments[0]:
        raise study.error("leaves out the cell that all others start from", "exclude")
    first = replace(rows[0], baseline=True)  # without values that `set` gives it already
    others = [replace(row, compare_to=0) for row in rows[1:] if row.config != first.config]
    if study.keys.design == "leave_one_out":
        _refuse_what_is_set(study, axes, [first, *others])
    return _with_labels_of_their_own(study, [first, *others])


def _refuse_what_is_set(study: StudySpec, axes: Sequence[Axis], rows: Sequence[StudyRow]) -> None:
    """Refuse an axis of which no value takes anything away, as `set` has all of them."""
    tried = {axis for row in rows for axis in row.values}
    for axis in written_here(study, axes):
        if narrowed(study, axis.paths):
            continue
        if axis.name not in tried and not (axis.when or axis.unless) and not study.keys.exclude:
            raise study.error("removes nothing: the full system has this value", f"axes.{axis.name}")


def _with_labels_of_their_own(study: StudySpec, rows: Sequence[StudyRow]) -> tuple[StudyRow, ...]:
    """Name the axes in labels that two rows would share, such as `blind` of either tower.

    Raises:
        UserError: two rows are called alike even so.

    """
    counts = Counter(row.label for row in rows)
    found = [row if counts[row.label] == 1 else replace(row, axes_named=True) for row in rows]
    label, number = Counter(row.label for row in found).most_common(1)[0]
    if number > 1:
        raise study.error(f"two variants are called {label!r}: give one of their values another label", "axes")
    return tuple(found)


def shared_settings(study: StudySpec) -> dict[str, Any]:
    """Return the settings that all cells share.

    Raises:
        UserError: some are given twice, or stand in a wrong place.

    """
    shared = dict(study.keys.set)
    keys = study.keys
    if keys.init_from is not None:
        if "init_from" in shared:
            if study.source.locations.get("set.init_from", ("",))[0] == COMMAND_LINE:
                raise study.error("is a key of the study: write study.init_from=…", "set.init_from")
            raise study.error("stands under `set` too: write it once", "init_from")
        shared["init_from"] = keys.init_from
    if "metrics" in shared:
        if study.source.locations.get("set.metrics", ("",))[0] == COMMAND_LINE:
            raise study.error("is a key of the study: write study.metrics.choose=…, say", "set.metrics")
        raise study.error("belongs at the top of the file, not under `set`", "set.metrics")
    shared["metrics"] = {"choose": keys.metrics.choose, "mode": keys.metrics.mode}
    return shared


def _check_paths(study: StudySpec, axes: Sequence[Axis]) -> None:
    known = known_paths()

    def check(path: str, key: str) -> None:
        if path == "seed":
            raise study.error("seeds are given by `seeds:`, for all variants alike", key)
        if path not in known:
            raise study.error(f"no setting is called {path!r}; {nearest(path, known)}", key)
        if path == "metrics" or path.startswith("metrics."):
            raise study.error("metrics cannot vary within a study: they decide what is compared", key)

    for position, axis in enumerate(axes):
        for path in axis.paths:
            check(path, f"axes.{axis.name}")
        for word, condition in (("when", axis.when), ("unless", axis.unless)):
            for path in condition:
                key = f"axes.{axis.name}.{word}.{path}"
                check(path, key)
                for later in axes[position:]:
                    if any(touches(scope(own), path) for own in later.paths):
                        if axis.whole and not later.whole:
                            problem = f"an axis on a whole node comes first, and cannot depend on {later.name!r}"
                            raise study.error(problem, key)
                        raise study.error(f"depends on axis {later.name!r}, which must come before it", key)
    for index, rule in enumerate(study.keys.exclude):
        if not isinstance(rule, Mapping) or not rule:
            raise study.error(f"expected path → value, found {rule!r}", f"exclude[{index}]")
        for path in rule.keys() - {axis.name for axis in axes}:
            check(path, f"exclude[{index}].{path}")


def _refuse_overwritten(study: StudySpec, axes: Sequence[Axis], shared: Mapping[str, Any]) -> None:
    """Refuse settings of this file or the command line that a value of an axis overwrites.

    Where one axis varies at a time, these are the axes of `baseline`; with the full system it is none.
    """
    everywhere = axes if study.keys.design == "grid" else [a for a in axes if a.name in (study.keys.baseline or {})]
    for axis in everywhere:
        if axis.when or axis.unless:
            continue
        if key := overwritten(study, shared, [value.settings for value in axis.values]):
            raise study.error(f"would be wiped by axis {axis.name!r}: remove one of the two", key)


def _baseline_values(study: StudySpec, axes: Sequence[Axis]) -> dict[str, Targets]:
    """Return what the values of each axis of `baseline` are compared with: one for all, or, in a grid, one for each."""
    chosen: dict[str, Targets] = {}
    by_name = {axis.name: axis for axis in axes}
    for name, wanted in (study.keys.baseline or {}).items():
        key = f"baseline.{name}"
        if name not in by_name:
            raise study.error(f"{name!r} is no axis of this study; {nearest(name, by_name)}", key)
        axis = by_name[name]
        listed = study.keys.design == "grid" and isinstance(wanted, list) and len(wanted) == len(axis.values)
        if listed and not any(value.matches(wanted) for value in axis.values):
            found = [_axis_value(study, axis, each, f"{key}[{index}]") for index, each in enumerate(wanted)]
        else:
            found = [_axis_value(study, axis, wanted, key)] * len(axis.values)
        chosen[name] = {id(value): target for value, target in zip(axis.values, found, strict=True)}
    return chosen


def _axis_value(study: StudySpec, axis: Axis, wanted: Any, key: str) -> Value:
    """Return the one value of an axis that `wanted` names."""
    matching = [each for each in axis.values if each.is_called(wanted)] or [v for v in axis.values if v.matches(wanted)]
    labels = ", ".join(value.label for value in matching or axis.values)
    if not matching:
        raise study.error(f"matches no value of axis {axis.name!r}; its values: {labels}", key)
    if len(matching) > 1:
        raise study.error(f"matches {len(matching)} values of axis {axis.name!r}: {labels}; name one by its label", key)
    return matching[0]


def _grid(axes: Sequence[Axis], shared: Mapping[str, Any]) -> list[dict[str, Value]]:
    cells: list[dict[str, Value]] = [{}]
    for axis in axes:
        having = [(values, _applies(axis, axes, shared, values)) for values in cells]
        cells = [cell for values, has in having for cell in (_each(axis, values) if has else [values])]
    return cells


def _each(axis: Axis, values: Mapping[str, Value]) -> list[dict[str, Value]]:
    return [{**values, axis.name: value} for value in axis.values]


def _one_change(
    axes: Sequence[Axis], shared: Mapping[str, Any], base: Mapping[str, Value]
) -> Iterator[dict[str, Value]]:
    first = _where_they_apply(axes, shared, base)
    yield first
    for axis in axes:
        for value in axis.values if _applies(axis, axes, shared, first) else ():
            if value is not first.get(axis.name):
                yield _where_they_apply(axes, shared, {**base, axis.name: value})


def _where_they_apply(axes: Sequence[Axis], shared: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values of those axes that a cell with them has, in their order."""
    kept: dict[str, Value] = {}
    for axis in axes:
        if axis.name in values and _applies(axis, axes, shared, kept):
            kept[axis.name] = values[axis.name]
    return {name: value for name, value in values.items() if name in kept}


def _applies(axis: Axis, axes: Sequence[Axis], shared: Mapping[str, Any], values: Mapping[str, Value]) -> bool:
    """Return whether a cell has an axis, as its values on the axes before say."""
    return not (axis.when or axis.unless) or axis.applies(_draft(_with_values(shared, axes, values))[0])


def _with_values(shared: Mapping[str, Any], axes: Sequence[Axis], values: Mapping[str, Value]) -> dict[str, Any]:
    chosen = [values[axis.name].settings for axis in axes if axis.name in values]
    together = {path: setting for settings in chosen for path, setting in settings.items()}
    return with_settings(shared, together)  # nodes first, whichever axis has them


def _draft(config: Mapping[str, Any]) -> tuple[dict[str, Any], UserError | None]:
    """Return a configuration with its defaults, by which rules name it, and what is wrong with it, if anything is."""
    try:
        return fill_defaults(config), None
    except UserError as error:
        return fill_what_fits(config), error


def _resolve(
    study: StudySpec, shared: Mapping[str, Any], axes: Sequence[Axis], values: Mapping[str, Value]
) -> ResolvedCell:
    try:
        return resolve_cell(_with_values(shared, axes, values))
    except UserError as error:
        raise _locate(study, error, values) from None


def _locate(study: StudySpec, error: UserError, values: Mapping[str, Value]) -> UserError:
    """Return an error that names the axis or the line which a cell's wrong setting comes from."""
    key = error.key or ""
    if error.file is not None:  # what is wrong stands in a file that the setting names
        error = UserError(str(UserError(error.problem, file=error.file, line=error.line)), key=error.key)
    made = [(path, axis, value) for axis, value in values.items() for path in value.settings if touches(path, key)]
    if made:
        _, axis, value = max(made, key=lambda item: len(item[0]))  # the most precise of them
        where = "" if key in (axis, f"{axis}.name") else f"{key}: "
        hint = ""
        if "has no such option" in error.problem and axis not in NODES:
            hint = f" (limit the axis with `when: {{{key.partition('.')[0]}.name: …}}`)"
        return study.error(f"{value.label}: {where}{error.problem}{hint}", f"axes.{axis}")
    if key.startswith("metrics."):
        return study.error(error.problem, key)
    return study.error(error.problem, f"set.{key}" if key else "set")


def _against_own_baseline(
    study: StudySpec, axes: Sequence[Axis], rows: Sequence[StudyRow], targets: Mapping[str, Targets]
) -> Iterator[StudyRow]:
    if not targets:
        yield from rows
        return
    first = {axis.name: axis.values[0] for axis in axes}
    candidates = _baselines(rows, targets)
    for row in rows:
        base = _targets_of(row, targets)
        expected = {axis: id(base.get(axis) or row.values.get(axis) or value) for axis, value in first.items()}
        found = sorted(
            index
            for names, indices in candidates.items()
            for index in indices.get(tuple(expected[axis] for axis in names), ())
        )
        if len(found) != 1:
            counted = "no cell" if not found else f"{len(found)} cells"
            raise study.error(f"matches {counted} to compare {row.label!r} with", "baseline")
        target = rows[found[0]]
        if target is row:
            yield replace(row, baseline=True)
            continue
        lacking = [axis for axis in target.values if axis not in row.values and axis not in base]
        note = "; ".join(f"has no {axis}: compared at {target.values[axis].label}" for axis in lacking)
        yield replace(row, compare_to=found[0], note=note or None)


def _targets_of(row: StudyRow, targets: Mapping[str, Targets]) -> dict[str, Value]:
    """Return the values of what a row is compared with; where it lacks the axis, that of the axis's first value."""
    return {axis: values.get(id(row.values.get(axis)), next(iter(values.values()))) for axis, values in targets.items()}


def _baselines(
    rows: Sequence[StudyRow], targets: Mapping[str, Targets]
) -> dict[tuple[str, ...], dict[tuple[int, ...], list[int]]]:
    """Index the rows that are baselines: their axes → their values (by identity) → their indices.

    With this index a row is compared without a search over all rows.
    """
    found: dict[tuple[str, ...], dict[tuple[int, ...], list[int]]] = {}
    for index, row in enumerate(rows):
        if all(row.values.get(axis) is value for axis, value in _targets_of(row, targets).items()):
            of_axes = found.setdefault(tuple(row.values), {})
            of_axes.setdefault(tuple(map(id, row.values.values())), []).append(index)
    return found


def _value_label(axis: str, value: Value, *, named: bool) -> str:
    alone = (axis in NODES or value.named) and not named
    return value.label if alone else f"{axis.removeprefix('model.').removeprefix('train.')} {value.label}"
