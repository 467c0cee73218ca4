"""The cost of an example in each cell, counted once per architecture and cached on disk.

Counting builds the model on the meta device, which takes a second; a plan of a thousand cells has few architectures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mtlab.config.hashing import digest
from mtlab.config.options import option_of
from mtlab.config.schema import NODES, is_multimodal, model_schema
from mtlab.disk_cache import load_or_compute
from mtlab.resolution.dataset_facts import dataset_facts
from mtlab.resolution.identity import content_digest
from mtlab.resolution.nodes import node_entry
from mtlab.resolution.training_code import training_code_digest

COUNT = 2  #: raise it when `mtlab.studies.budget.flops` counts otherwise


@dataclass(frozen=True)
class CellCost:
    """The cost of one example, and the size of the model."""

    params: Mapping[str, int]  #: part → parameters
    trained_params: int
    flops_forward: float  #: of one example, published arithmetic: all tokens of all layers
    flops_training: float  #: of one example: 3 × forward of trained parts, 1 × of frozen parts that are not cached


CostFunction = Callable[[Mapping[str, Any]], CellCost]  #: resolved configuration → what an example costs

_known: dict[str, CellCost] = {}  #: of this process, by architecture


def cell_cost(config: Mapping[str, Any]) -> CellCost:
    """Return the cost of an example in a cell with this resolved configuration."""
    key = architecture_digest(config)
    if key not in _known:
        _known[key] = CellCost(**load_or_compute("cost", key, lambda: asdict(_count(config))))
    return _known[key]


def _count(config: Mapping[str, Any]) -> CellCost:
    from mtlab.studies.budget.flops import count_cost

    cost = count_cost(config, answers=dataset_facts(config["data"]).answers)
    return CellCost(dict(cost.params), cost.trained_params, float(cost.flops_forward.total), float(cost.flops_step))


def architecture_digest(config: Mapping[str, Any]) -> str:
    """Digest everything that the cost of an example depends on."""
    entries = {node: node_entry(node, config[node]) for node in NODES}
    versions = {node: (entry.version, entry.source) for node, entry in entries.items()}
    parts: dict[str, Any] = {
        node: _sizing(config[node], entries[node].config) for node in ("manager", "text", "vision", "task")
    }
    parts |= {"model": _sizing(config["model"], model_schema(config["model"])), "cache": config["cache"]}
    # A folder of a model may hold another one by now.
    parts |= {f"weights of {tower}": content_digest(tower, config[tower]) for tower in ("text", "vision")}
    facts = dataset_facts(config["data"])
    # The architecture depends on no more of the data; a language model reads the answers' words.
    answers = facts.answer_names if is_multimodal(config) else facts.answers
    return digest(
        {"parts": parts, "answers": answers, "versions": versions, "code": training_code_digest(), "count": COUNT}
    )


def _sizing(node: Mapping[str, Any], schema: type[Any]) -> dict[str, Any]:
    """Return the options that parameters or FLOPs depend on."""
    without = {field.name for field in dataclasses.fields(schema) if not option_of(field).sizing}
    return {option: value for option, value in node.items() if option not in without}


def known_costs(cost: CellCost) -> dict[str, float]:
    """Return the costs that are known before a run, named as metrics."""
    return {
        "cost/params": float(sum(cost.params.values())),
        "cost/trained_params": float(cost.trained_params),
        "cost/flops": cost.flops_forward,
    }
