"""Whether a run measures what its levels are worth, where its configuration leaves that open, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_FORWARD = 20_000  #: forward passes of an example in all


def intervention_passes(config: Mapping[str, Any]) -> int:
    """Count the passes over the validation data at most: without each level, and with two kinds of other weights.

    Args:
        config: resolved, all but `record.interventions`.

    """
    from mtlab.towers.build import KINDS, tower_shape  # imports torch

    return sum(len(tower_shape(kind, config[kind]).levels) + 2 for kind in KINDS)


def intervention_forwards(config: Mapping[str, Any], examples: int) -> int:
    """Count how often the encoder runs in all these passes.

    Args:
        config: as above.
        examples: of the validation data.

    """
    from mtlab.tasks.base import lookup_task  # imports torch

    task, options = lookup_task(config)
    return intervention_passes(config) * task.fusions_to_evaluate(options, examples)


def fill_interventions(config: dict[str, Any], examples: int) -> dict[str, Any]:
    """Turn `record.interventions: null` into yes or no, by the configuration alone: the same on every machine.

    Yes where both towers are cached, the task hides no words from a cached one, and the encoder runs at most
    `MAX_FORWARD` times. Not part of a run's id.

    Args:
        config: resolved but for that.
        examples: of the validation data.

    """
    record = config["record"]
    if record["interventions"] is not None:
        return config
    from mtlab.tasks.base import lookup_task  # imports torch
    from mtlab.towers.build import KINDS, is_cached

    task, options = lookup_task(config)
    cheap = all(is_cached(kind, config) for kind in KINDS) and task.batch_needs(options).mask_share is None
    cheap = cheap and intervention_forwards(config, examples) <= MAX_FORWARD
    return config | {"record": record | {"interventions": cheap}}
