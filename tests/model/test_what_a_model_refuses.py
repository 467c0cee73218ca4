"""Managers and models that cannot be built: the error names the key and what would be right."""

from typing import Any

import pytest

from mtlab.config.schema import ModelConfig
from mtlab.errors import UserError
from mtlab.model.encoder import CrossModalEncoder
from mtlab.tasks.build import build
from mtlab.towers.base import TowerShape

TEXT = TowerShape((12, 12, 12), (2, 3, 4), 4, 9, class_token=True, positions=True)
VISION = TowerShape((6, 10), (1, 5), 5, 8, class_token=False, positions=False)
LAST = {
    "manager": {"name": "last"},
    "model": {"width": 16, "heads": 4, "cross_layers": 2, "mlp_ratio": 2},
    "task": {"name": "question_answering"},
}


@pytest.mark.parametrize(
    ("node", "key", "says"),
    [
        ({"name": "adptive"}, "manager.name", "adaptive"),
        ({"name": "static", "wieght": "scalar"}, "manager.wieght", "weight"),
        ({"name": "static", "frozen": "maybe"}, "manager.frozen", "maybe"),
        ({"name": "last", "expert": 3}, "manager.expert", "2 offered"),  # the image has two
        ({"name": "bridge", "experts": [1, 2, 3]}, "manager.experts", "2 cross-modal layers"),
        ({}, "manager", "name"),
    ],
)
def test_a_manager_that_cannot_be_built(node: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        CrossModalEncoder(ModelConfig(width=16, heads=4, cross_layers=2), node, TEXT, VISION)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"model": {"width": 16, "heads": 3}}, "model.heads"),
        ({"task": {"name": "question_anwering"}}, "task.name"),
        ({"task": {"name": "question_answering", "head_layers": 3}}, "task.head_layers"),
    ],
)
def test_a_model_that_cannot_be_built(change: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError) as caught:
        build(LAST | change, TEXT, VISION, answers=5)
    assert caught.value.key == key
