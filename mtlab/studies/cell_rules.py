"""Rules that name cells by their settings: conditions of axes, and exclusions; each must name a cell that there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtlab.config.load import COMMAND_LINE
from mtlab.studies.axes import MISSING, Axis, Value, equal, has_value, holds, lookup, scope, with_settings
from mtlab.studies.spec import StudySpec

DECIDING = ("axes", "design", "exclude", "baseline")  #: keys of a study that decide which cells there are
DraftCell = tuple[Mapping[str, Value], Mapping[str, Any]]  #: axis → value, and the configuration


def refuse_unused(study: StudySpec, axes: Sequence[Axis], cells: Sequence[DraftCell]) -> None:
    """Refuse an axis that no cell has, and a value in its conditions that none has: one of them may be mistyped.

    Overrides may leave out the values that it is for, and so may a file that has the axis from its base.
    """
    for axis in written_here(study, axes):
        if narrowed(study, [*axis.when, *axis.unless]):
            continue
        for word, condition in (("when", axis.when), ("unless", axis.unless)):
            for path, wanted in condition.items():
                configs = [config for _, config in cells]
                for each in one_by_one(wanted, path, configs):
                    if not any(holds({path: each}, config) for config in configs):
                        raise study.error(f"no cell has {each!r}", f"axes.{axis.name}.{word}.{path}")
        if not any(axis.name in values for values, _ in cells):
            word = "when" if axis.when else "unless"
            left_out = "all cells" if study.keys.design == "grid" else "the cell that all others start from"
            raise study.error(f"leaves out {left_out}: the axis would vary nothing", f"axes.{axis.name}.{word}")


def written_here(study: StudySpec, axes: Iterable[Axis]) -> list[Axis]:
    """Return the axes of the study's own file, those of its bases left out."""
    return [axis for axis in axes if study.source.locations.get(f"axes.{axis.name}", (None,))[0] == study.path]


def narrowed(study: StudySpec, paths: Iterable[str]) -> bool:
    """Return whether the command line changes which cells there are, or one of these settings."""
    given = [key for key, (where, _) in study.source.locations.items() if where == COMMAND_LINE]
    settings = [key.removeprefix("set.") for key in given if key.startswith("set.")]
    return any(key.partition(".")[0].partition("[")[0] in DECIDING for key in given) or any(
        touches(setting, path) for setting in settings for path in paths
    )


def one_by_one(wanted: Any, path: str, configs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the values that a list names; one that may be a value of the setting itself is not taken apart."""
    values = [lookup(config, path) for config in configs]
    if not isinstance(wanted, list) or any(equal(value, wanted) for value in values):
        return [wanted]
    alternatives = any(isinstance(each, list) or any(equal(value, each) for value in values) for each in wanted)
    return wanted if alternatives or not any(isinstance(value, list) for value in values) else [wanted]


def overwritten(study: StudySpec, shared: Mapping[str, Any], given: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the key of a setting of this file or the command line that some of the given settings would overwrite.

    Args:
        study: whose file it is.
        shared: what all of its cells share.
        given: of each value of an axis, or choice of a search, its settings by path.

    """
    changed = [with_settings(shared, settings) for settings in given]
    own_places = (study.path, COMMAND_LINE)
    own = {key.removeprefix("set."): key for key, (where, _) in study.source.locations.items() if where in own_places}
    for setting, key in own.items():
        before = lookup(shared, setting, MISSING)
        if (key == setting or isinstance(before, Mapping)) and setting != "init_from":  # of a mapping: what is in it
            continue
        if any(not equal(lookup(config, setting, MISSING), before) for config in changed):
            return own.get(scope(setting), key)
    return None


def touches(path: str, key: str) -> bool:
    """Return whether a setting and a key are the same, or one lies within the other."""
    return bool(key) and (key == path or key.startswith((f"{path}.", f"{path}[")) or path.startswith(f"{key}."))


def is_excluded(study: StudySpec, axes: Sequence[Axis], values: Mapping[str, Value], config: Mapping[str, Any]) -> bool:
    """Return whether a rule of `exclude` names a cell, by settings or by the labels of axis values."""
    return any(
        all(_has(axes, values, config, path, wanted) for path, wanted in rule.items()) for rule in study.keys.exclude
    )


def _has(axes: Sequence[Axis], values: Mapping[str, Value], config: Mapping[str, Any], path: str, wanted: Any) -> bool:
    of_axis = [value for axis in axes if axis.name == path for value in axis.values]
    return has_value(values.get(path), of_axis, config, path, wanted)


def check_exclusions(study: StudySpec, axes: Sequence[Axis], cells: Sequence[DraftCell]) -> None:
    """Refuse a rule of `exclude` that names a value which no cell has; overrides may leave out those that it is for."""
    by_name = {axis.name: axis for axis in axes}
    configs = [config for _, config in cells]
    for index, rule in enumerate(study.keys.exclude):
        for path, wanted in () if narrowed(study, rule) else rule.items():
            for each in one_by_one(wanted, path, configs):
                if not any(_has(axes, values, config, path, each) for values, config in cells):
                    problem = f"no cell has {each!r}"
                    if path in by_name:
                        labels = ", ".join(value.label for value in by_name[path].values)
                        problem = f"{each!r} matches no value of axis {path!r}; its values: {labels}"
                    raise study.error(problem, f"exclude[{index}].{path}")
