"""From what is written for a cell to all that it is: defaults filled in, each value checked, alone and together.

Each distinct node is checked once, however many cells share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtlab.config.schema import Mode
from mtlab.resolution.checks import check_together, levels_read
from mtlab.resolution.dataset_facts import DatasetFacts, dataset_facts, dataset_remarks
from mtlab.resolution.defaults import fill_defaults
from mtlab.resolution.identity import plugin_digests
from mtlab.resolution.interventions import fill_interventions
from mtlab.resolution.metrics import fill_metrics, metric_directions


@dataclass(frozen=True)
class ResolvedCell:
    """A cell's checked configuration, and what follows from it."""

    config: dict[str, Any]  #: `train.length` as written; a plan turns it into steps when it knows the cost
    dataset: DatasetFacts
    remarks: tuple[str, ...]  #: what a user should know of the data set
    metrics: Mapping[str, Mode]  #: see `mtlab.resolution.metrics.metric_directions`
    pairing: Mapping[str, list[list[int]]]  #: see `mtlab.resolution.checks.levels_read`
    plugin_digests: Mapping[str, str]


def resolve_cell(written: Mapping[str, Any]) -> ResolvedCell:
    """Fill in and check a cell's configuration.

    Raises:
        UserError: unknown key or name, wrong type, value out of range, or values that do not go together.

    """
    config = fill_defaults(written)
    dataset = dataset_facts(config["data"])
    config = fill_metrics(config)
    check_together(config, dataset)
    config = fill_interventions(config, dataset.examples["val"])
    return ResolvedCell(
        config=config,
        dataset=dataset,
        remarks=(dataset.describe(config["data"]["name"]), *dataset_remarks(config["data"])),
        metrics=metric_directions(config),
        pairing=levels_read(config),
        plugin_digests=plugin_digests(config),
    )


def resolve(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of `resolve_cell`."""
    return resolve_cell(written).config
