"""The names of a cell's metrics, which depend on its task and data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtlab.resolution.dataset_facts import dataset_facts
from mtlab.resolution.nodes import node_entry, node_options

PRIMARY = "primary"  #: stands for the first metric of whatever task a cell has


def metric_names(config: Mapping[str, Any]) -> list[str]:
    """List the metrics of a resolved cell; those of val/… and test/… also come per family: val/accuracy/FAMILY."""
    names = [*_task_metrics(config), PRIMARY, "loss"]
    costs = ["cost/params", "cost/flops", "cost/seconds", "cost/memory"]
    return [f"{split}/{name}" for split in ("val", "test") for name in names] + ["train/loss", *costs]


def is_metric(metric: str, known: Sequence[str]) -> bool:
    """Return whether `metric` is known, itself or as one family of a known one."""
    return metric in known or (metric.count("/") == 2 and metric.rpartition("/")[0] in known)


def list_metrics(known: Sequence[str]) -> str:
    """List metrics for a message; those of families are not repeated."""
    return f"metrics: {', '.join(known)}"


def name_primary_metric(config: Mapping[str, Any]) -> dict[str, Any]:
    """Replace `val/primary` by the primary metric of the cell's task, as a study may be over several tasks."""
    metric = config["metrics"]["choose"]
    for split in ("val", "test"):
        if f"{metric}/".startswith(f"{split}/{PRIMARY}/"):
            metric = metric.replace(PRIMARY, next(iter(_task_metrics(config))), 1)
    return {**config, "metrics": config["metrics"] | {"choose": metric}}


def _task_metrics(config: Mapping[str, Any]) -> Mapping[str, str]:
    task, offers = node_entry("task", config["task"]), dataset_facts(config["data"]).offers
    directions: Mapping[str, str] = task.cls.metric_directions(node_options("task", config["task"]), offers)
    return directions
