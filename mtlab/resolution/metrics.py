"""The metrics of a cell, which depend on its task and data set: their names, and which way each is better."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mtlab.config.schema import Mode
from mtlab.errors import nearest
from mtlab.resolution.dataset_facts import dataset_facts, split_families
from mtlab.resolution.nodes import node_entry, node_options

PRIMARY = "primary"  #: stands for the first metric of whatever task a cell has
_COSTS = ("cost/params", "cost/trained_params", "cost/flops", "cost/seconds", "cost/memory")


def metric_directions(config: Mapping[str, Any]) -> dict[str, Mode]:
    """Return each metric of a resolved cell, and which way it is better.

    Those of val/… and test/… also come per family: val/accuracy/FAMILY.
    """
    own = _task_metrics(config)
    ways: dict[str, Mode] = {**own, PRIMARY: next(iter(own.values())), "loss": "min"}
    of_splits = {f"{split}/{name}": way for split in ("val", "test") for name, way in ways.items()}
    return {**of_splits, "train/loss": "min", **dict.fromkeys(_COSTS, "min")}


def is_metric(metric: str, known: Collection[str]) -> bool:
    """Return whether `metric` is known, itself or as one family of a known one."""
    whole = metric.rpartition("/")[0]
    return metric in known or (whole in known and whole.startswith(("val/", "test/")) and not whole.endswith("/loss"))


def family_problem(metric: str, config: Mapping[str, Any]) -> str | None:
    """Say why no run has a known metric of a family; None: runs have it, it names none, or data lack.

    Args:
        metric: that the cell has.
        config: the resolved cell.

    """
    if metric in metric_directions(config):
        return None
    split, name, family = metric.split("/")
    task = node_entry("task", config["task"]).cls
    if name == PRIMARY:
        own = next(iter(_task_metrics(config)))
        return f"{PRIMARY} has no families: name the metric that is meant, such as {split}/{own}/{family}"
    if name in task.without_families:
        return f"{name} has no value for a family: it is no mean over examples"
    known = split_families(config["task"], config["data"], split)
    if known is None or family in known:
        return None
    return f"{split} has no family {family!r}; {nearest(family, sorted(known))}"


def direction_problem(metric: str, cells: Iterable[Mapping[str, Mode]], mode: Mode | None) -> str | None:
    """Say why the direction of a metric is unclear; None if it is the same in all cells, and the one that is written.

    Args:
        metric: that a cell has at least.
        cells: `metric_directions` of each.
        mode: as written, or None.

    """
    ways = sorted({direction(metric, known) for known in cells if is_metric(metric, known)})
    if len(ways) > 1:
        return f"{metric} is better large for one task of the study and small for another: compare one of them"
    if mode in (None, *ways):
        return None
    return f"{mode} contradicts {metric}, which is better {'small' if mode == 'max' else 'large'}: leave mode out"


def direction(metric: str, known: Mapping[str, Mode]) -> Mode:
    """Return which way a known metric is better; a family's is that of the whole."""
    return known[metric] if metric in known else known[metric.rpartition("/")[0]]


def list_metrics(known: Collection[str]) -> str:
    """List metrics for a message; those of families are not repeated."""
    return f"metrics: {', '.join(known)}"


def fill_metrics(config: Mapping[str, Any]) -> dict[str, Any]:
    """Name what chooses the checkpoint, and which way it is better, where the task decides.

    `val/primary` becomes the primary metric of the cell's task, as a study may be over several tasks.
    """
    metric, mode = config["metrics"]["choose"], config["metrics"]["mode"]
    for split in ("val", "test"):
        if f"{metric}/".startswith(f"{split}/{PRIMARY}/"):
            metric = metric.replace(PRIMARY, next(iter(_task_metrics(config))), 1)
    known = metric_directions(config)
    if mode is None and is_metric(metric, known):
        mode = direction(metric, known)
    return {**config, "metrics": config["metrics"] | {"choose": metric, "mode": mode}}


def _task_metrics(config: Mapping[str, Any]) -> Mapping[str, Mode]:
    task, offers = node_entry("task", config["task"]), dataset_facts(config["data"]).offers
    directions: Mapping[str, Mode] = task.cls.metric_directions(node_options("task", config["task"]), offers)
    return directions
