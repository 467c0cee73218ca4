"""Costs agree with closed forms, with the authors' counts at the published size, and with the towers' options."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mtlab.model.network import VisionLanguageModel
from mtlab.studies.budget.flops import count_cost, count_params, fusion_flops
from mtlab.tasks.build import construct
from mtlab.towers.base import TowerShape

BASE = json.loads((Path(__file__).parents[1] / "golden" / "base_size.json").read_text())
ANSWERS = 3129
VARIANTS: dict[str, dict[str, Any]] = {
    "METER": {"name": "last"},
    "BT": {"name": "bridge"},
    "MT-SAUE-scalar": {"name": "static", "weight": "scalar"},
    "MT-SAUE-vector": {"name": "static", "weight": "vector"},
    "MT-AAUE-scalar": {"name": "adaptive", "weight": "scalar"},
    "MT-AAUE-vector": {"name": "adaptive", "weight": "vector"},
}


def shape(tokens: int) -> TowerShape:
    """The published towers at base size: 12 layers, the top six on offer."""
    return TowerShape((768,) * 6, (7, 8, 9, 10, 11, 12), 12, tokens, class_token=True, positions=True)


TEXT, VISION = shape(50), shape(197)


def published(variant: str) -> VisionLanguageModel:
    config = {
        "model": {"width": 768, "heads": 12, "cross_layers": 6, "layer_embeddings": variant.startswith("MT")},
        "manager": VARIANTS[variant],
        "task": {"name": "question_answering"},
    }
    with torch.device("meta"):
        return construct(config, TEXT, VISION, answers=ANSWERS).eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_published_parameters(variant: str) -> None:
    ours, theirs = count_params(published(variant)), BASE["params"][variant]
    unused = 12 if variant.startswith("MT") else 0  # one temperature a manager that the authors' code never reads
    assert ours["projections"] == theirs["transforms"]
    assert ours["embeddings"] == theirs["token_type"] + theirs.get("layer_embeddings", 0)
    assert ours["managers"] == theirs.get("managers", theirs.get("bridges", 0)) - unused
    assert ours["cross-modal layers"] == theirs["cross_modal_layers"]
    assert ours["poolers"] == theirs["poolers"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_published_flops(variant: str) -> None:
    theirs = BASE["flops_224"][f"{variant}|224"]
    head = 2 * (1536 * 1536 + 1536 * ANSWERS)
    fusion = sum(theirs.get(part, 0) for part in ("Linear", "BertCrossLayer", "Pooler", "Manager"))
    assert fusion_flops(published(variant), TEXT, VISION) == fusion + head


@pytest.mark.parametrize("name", ["mean", "static"])
def test_closed_form(name: str) -> None:
    width, ratio, depth, experts, length, other = 24, 3, 2, 4, 7, 11
    text = TowerShape((10, 20, 30, 40), (1, 2, 3, 4), 4, length, class_token=True, positions=True)
    vision = TowerShape((16,) * experts, (1, 2, 3, 4), 4, other, class_token=False, positions=False)
    config = {
        "model": {"width": width, "heads": 4, "cross_layers": depth, "mlp_ratio": ratio},
        "manager": {"name": name},
        "task": {"name": "question_answering", "head_layers": 1},
    }
    with torch.device("meta"):
        model = construct(config, text, vision, answers=5).eval()

    def layer(own: int, crossed: int) -> int:
        linear = (4 + 2) * own * width**2 + 2 * crossed * width**2 + 2 * ratio * own * width**2
        return 2 * (linear + 2 * own * own * width + 2 * own * crossed * width)

    projections = 2 * width * (length * (10 + 20 + 30 + 40) + other * experts * 16)
    rest = 2 * 2 * width**2 + 2 * 2 * width * 5
    fusion = depth * (layer(length, other) + layer(other, length))
    assert fusion_flops(model, text, vision) == projections + fusion + rest


def test_an_expert_that_nobody_reads_costs_nothing() -> None:
    text = TowerShape((10, 20, 30), (1, 2, 3), 3, 7, class_token=True, positions=True)
    config = {"model": {"width": 8, "heads": 2}, "manager": {"name": "last"}, "task": {"name": "question_answering"}}
    with torch.device("meta"):
        model = construct(config, text, text, answers=5).eval()
    assert count_params(model)["projections"] == 2 * (30 * 8 + 8)


def whole(**changes: Any) -> dict[str, Any]:
    config = {
        "model": {"width": 16, "heads": 2, "cross_layers": 2},
        "manager": {"name": "adaptive"},
        "task": {"name": "question_answering"},
        "text": {"name": "tiny_text"},
        "vision": {"name": "tiny_vision"},
        "cache": {"enabled": True},
    }
    return config | changes


def test_a_run_with_frozen_towers() -> None:
    cost = count_cost(whole(), answers=5)
    assert sum(cost.params.values()) == cost.trained_params + cost.params["text tower"] + cost.params["vision tower"]
    assert min(cost.flops_forward.trained, cost.flops_forward.frozen, *cost.params.values()) > 0
    assert cost.flops_step == 3 * cost.flops_forward.trained
    uncached = count_cost(whole(cache={"enabled": False}), answers=5)
    assert uncached.flops_step == cost.flops_step + cost.flops_forward.frozen


def test_a_run_that_trains_a_tower() -> None:
    frozen, trained = (
        count_cost(whole(), answers=5),
        count_cost(whole(text={"name": "tiny_text", "trainable": True}), answers=5),
    )
    assert trained.trained_params == frozen.trained_params + frozen.params["text tower"]
    assert trained.flops_forward.total == frozen.flops_forward.total
    assert trained.flops_step > frozen.flops_step


def test_frozen_layer_weights_are_not_trained() -> None:
    free = count_cost(whole(manager={"name": "static"}), answers=5)
    control = count_cost(whole(manager={"name": "static", "frozen": True}), answers=5)
    assert free.params == control.params
    assert control.trained_params < free.trained_params
