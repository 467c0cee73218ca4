"""The text encoders of published models are known without a network, and as large as they are."""

import pytest
import torch

from mtlab.errors import UserError
from mtlab.towers.build import build_tower, tower_digest, tower_shape


@pytest.mark.parametrize(
    ("model", "depth", "width", "parameters"),
    [
        ("roberta-base", 12, 768, 124_055_040),  # the authors' count, without its pooler
        ("FacebookAI/roberta-large", 24, 1024, 354_310_144),
        ("bert-base-uncased", 12, 768, 108_891_648),
    ],
)
def test_architecture(model: str, depth: int, width: int, parameters: int) -> None:
    node = {"name": "transformers", "model": model, "max_length": 50}
    shape = tower_shape("text", node)
    assert (shape.depth, shape.tokens, set(shape.widths)) == (depth, 50, {width})
    with torch.device("meta"):
        tower = build_tower("text", node, weights=False)
    assert sum(parameter.numel() for parameter in tower.parameters()) == parameters
    assert tower_digest("text", node) is None


def test_texts_longer_than_its_positions_are_refused() -> None:
    with pytest.raises(UserError, match="513 is more than the 512 tokens"):
        tower_shape("text", {"name": "transformers", "model": "roberta-base", "max_length": 513})
