"""Shipped studies and sweeps, shrunken so that their runs take a second: the same question on tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mtlab.config.load import recipe_folders, sweep_recipe_folders

TEXT = {"name": "tiny_text", "depth": 6, "width": 16, "layers": "top3"}
VISION = {"name": "tiny_vision", "depth": 5, "width": 16, "layers": "top3"}
MODEL = {"width": 16, "heads": 2, "cross_layers": 2, "mlp_ratio": 1}
EXAMPLES = {"train": 64, "val": 48, "test": 48}
TRAIN = {"batch": 8, "length": {"steps": 2}, "eval_every": 1}
LISTED, ZIPPED = 2, 3  #: values that are kept of an axis


def shrink_study(name: str, folder: Path, *, listed: int = LISTED, zipped: int = ZIPPED, seeds: int = 2) -> Path:
    """Write a shrunken copy of a shipped study: tiny towers, few examples, two steps, the first values of each axis."""
    study = yaml.safe_load((recipe_folders()[0] / f"{name}.yaml").read_text())
    planted = _is_planted(study.get("set", {}))
    _move_settings(study, folder)
    axes = {path: _axis(path, axis, listed, zipped) for path, axis in study["axes"].items()}
    if not planted:
        axes = {path: _without_experts(axis) for path, axis in axes.items()}
    study["axes"] = {path: axis for path, axis in axes.items() if _still_applies(axis, axes)}
    study["exclude"] = [rule for rule in study.get("exclude", []) if _still_names(rule, study["axes"])]
    study["seeds"] = study["seeds"][:seeds] if isinstance(study["seeds"], list) else seeds
    return _write(study, folder / f"{name}.yaml")


def shrink_sweep(name: str, folder: Path, *, variants: slice) -> Path:
    """Write a shrunken copy of a shipped sweep: some variants, two trials for each, two seeds for the winners."""
    sweep = yaml.safe_load((sweep_recipe_folders()[0] / f"{name}.yaml").read_text())
    _move_settings(sweep, folder)
    sweep["over"] = {path: _variants(axis, variants) for path, axis in sweep["over"].items()}
    sweep |= {"seeds": 1, "budget": {"trials": 2}, "sampler": {"name": "random"}, "pruner": "none"}
    sweep["finally"]["seeds"] = 2
    return _write(sweep, folder / f"{name}.yaml")


def _variants(axis: Any, variants: slice) -> Any:
    if isinstance(axis, list):
        return axis[variants]
    zipped = {path: values[variants] for path, values in axis["zip"].items() if path == "manager"}
    return {"zip": zipped, "labels": axis["labels"][variants]}


def _move_settings(study: dict[str, Any], folder: Path) -> None:
    """Write the settings as a preset: in the file itself, settings that an axis overwrites are an error."""
    preset = {"kind": "preset", "why": "Small.", "set": _settings(study.pop("set", {}))}
    name = _write(preset, folder / f"small_{study['name']}.yaml").stem
    study["base"] = [*study.get("base", []), name]


def _is_planted(given: dict[str, Any]) -> bool:
    """Return whether the settings keep their towers: those of planted experts are small already."""
    data = given.get("data", {})
    return isinstance(data, dict) and data.get("name") == "planted"


def _without_experts(axis: Any) -> Any:
    """Leave out `experts` of listed managers: tiny towers have fewer levels than they name."""
    if not isinstance(axis, list):
        return axis
    return [
        {key: value for key, value in each.items() if key != "experts"} if isinstance(each, dict) else each
        for each in axis
    ]


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    named = {"text": given["text"], "vision": given["vision"]} if _is_planted(given) else {}
    towers = {"text": TEXT, "vision": VISION} | named
    model = {**MODEL, **{key: value for key, value in given.get("model", {}).items() if key == "cross_layers"}}
    data = _data(given.get("data", {"name": "shapes"}))
    return {**given, **towers, "model": model, "data": data, "train": TRAIN}


def _data(data: Any) -> Any:
    """Take fewer examples and smaller images; `pictograms` has no number of examples."""
    if data == "pictograms":
        return {"name": "pictograms", "image_size": 32}
    return {**data, **EXAMPLES} if data.get("name") == "planted" else {**data, **EXAMPLES, "image_size": 56}


def _axis(path: str, axis: Any, listed: int, zipped: int) -> Any:
    if path == "vision":  # each tower with another depth, so that its cells differ
        return [VISION | {"label": tower["label"], "depth": 5 + at} for at, tower in enumerate(axis)][:listed]
    if isinstance(axis, list):
        return axis[:listed]
    if "zip" not in axis:
        return axis
    kept = {key: values[:zipped] for key, values in axis["zip"].items() if not key.startswith("train.")}
    kept |= {"data": [_data(data) for data in kept["data"]]} if "data" in kept else {}
    return {**axis, "zip": kept, "labels": axis["labels"][:zipped]}


def _still_names(rule: dict[str, Any], axes: dict[str, Any]) -> bool:
    """Return whether a rule of `exclude` names only values that were kept."""
    return all(
        value in [each.get("label") if isinstance(each, dict) else each for each in axes[path]]
        for path, values in rule.items()
        for value in (values if isinstance(values, list) else [values])
    )


def _still_applies(axis: Any, axes: dict[str, Any]) -> bool:
    """Return whether the manager that an axis is for was kept."""
    wanted = axis.get("when", {}).get("manager.name") if isinstance(axis, dict) else None
    return wanted is None or wanted in [each["name"] for each in axes["manager"]]


def _write(data: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path
