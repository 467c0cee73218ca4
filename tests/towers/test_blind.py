"""`blind`: a model with such a tower gives the same output whatever the input that it does not see."""

import numpy as np
import pytest
import torch

import mtlab
from mtlab.towers.build import tower_shape

SEEING = {"text": {"name": "tiny_text", "depth": 2, "width": 16}, "vision": {"name": "tiny_vision", "depth": 2}}
SIZES = {"model": {"width": 16, "heads": 2, "cross_layers": 2, "mlp_ratio": 1}, "data": {"name": "shapes"}}


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("manager", ["last", "mean", "bridge", "adaptive"])
@pytest.mark.parametrize("blind", ["text", "vision"])
def test_what_is_not_seen_changes_nothing(blind, manager):
    model = mtlab.build({**SEEING, blind: "blind", **SIZES, "manager": manager})
    pictures, texts = [noise(0), noise(0), noise(1)], ["is it red?", "how many stars are there?", "is it red?"]
    with torch.no_grad():
        pooled = model.encode(pictures, texts).pooled
    other_text, other_picture = (not torch.allclose(pooled[0], pooled[row], atol=1e-5) for row in (1, 2))
    assert (other_text, other_picture) == ((False, True) if blind == "text" else (True, False))


def test_described_as_one_token_of_one_level():
    shape = tower_shape("vision", {"name": "blind"})
    assert (shape.depth, shape.tokens, shape.widths) == (1, 1, (1,))
