"""The cost of an example in each cell, counted once per architecture and cached in the store.

Counting builds the model on the meta device, which takes a second; a plan of a thousand cells has few architectures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mtlab.config.hashing import digest
from mtlab.config.load import NODES
from mtlab.config.options import option_of
from mtlab.config.schema import is_multimodal, model_schema
from mtlab.errors import UserError
from mtlab.files import read_json, write_json
from mtlab.resolution.dataset_facts import dataset_facts
from mtlab.resolution.nodes import node_entry
from mtlab.resolution.training_code import training_code_digest
from mtlab.runs import schemas

COUNT = 1  #: raise it when `mtlab.studies.budget.flops` counts otherwise


@dataclass(frozen=True)
class CellCost:
    """The cost of one example, and the size of the model."""

    params: Mapping[str, int]  #: part → parameters
    trained_params: int
    flops_forward: float  #: of one example, published arithmetic: all tokens of all layers
    flops_training: float  #: of one example: 3 × forward of trained parts, 1 × of frozen parts that are not cached


class CostCache:
    """Costs by architecture, cached in one file of the store. A damaged file is counted anew, and replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Any] = _read(path)
        self.fresh = 0

    def __call__(self, config: Mapping[str, Any]) -> CellCost:
        """Return the cost of an example in a cell with this resolved configuration."""
        key = architecture_digest(config)
        if key not in self.known:
            from mtlab.studies.budget.flops import count_cost

            cost = count_cost(config, answers=dataset_facts(config["data"]).answers)
            flops = float(cost.flops_forward.total), float(cost.flops_step)
            self.known[key] = asdict(CellCost(dict(cost.params), cost.trained_params, *flops))
            self.fresh += 1
        return CellCost(**{field.name: self.known[key][field.name] for field in dataclasses.fields(CellCost)})

    def save(self) -> None:
        """Write what was counted since the file was read."""
        if self.fresh:
            write_json(self.path, self.known)


def _read(path: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = read_json(path)
        schemas.check(known, dict[str, CellCost], path)
    except (FileNotFoundError, NotADirectoryError, UserError):
        return {}
    return known


def architecture_digest(config: Mapping[str, Any]) -> str:
    """Digest everything that the cost of an example depends on."""
    entries = {node: node_entry(node, config[node]) for node in NODES}
    versions = {node: entry.version for node, entry in entries.items()}
    parts = {node: _sizing(config[node], entries[node].config) for node in ("manager", "text", "vision", "task")}
    parts |= {"model": _sizing(config["model"], model_schema(config["model"])), "cache": config["cache"]}
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
