"""A level that is removed: what managers and the gate are given in its place, and that nothing of it is left."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_mllm_encoder import answers, built, encoder_of, folder, inputs
from test_model import config, features

from mtlab.managers.interventions import without
from mtlab.model.encoder import CrossModalEncoder
from mtlab.model.network import VisionLanguageModel
from mtlab.tasks.build import build
from mtlab.towers.base import Features, TowerShape

__all__ = ["answers", "folder"]  # fixtures
TEXT = TowerShape((12, 12, 12), (2, 3, 4), 4, 9, class_token=True, positions=True, gate=True)
VISION = TowerShape((10, 10), (1, 5), 5, 8, class_token=False, positions=False, gate=True)


def noise(given: Features, expert: int) -> Features:
    """The same levels, but for one that holds other numbers."""
    levels = list(given.levels)
    levels[expert - 1] = 9 * torch.randn(levels[expert - 1].shape, generator=torch.Generator().manual_seed(9))
    return replace(given, levels=tuple(levels))


def gated(manager: str | dict[str, Any], **options: Any) -> tuple[VisionLanguageModel, Features, Features]:
    """A model in whose towers the top level is given a sum of the others."""
    text, vision = features()
    vision = Features((torch.randn(2, 8, 10, generator=torch.Generator().manual_seed(1)), vision.levels[1]))
    return build(config(manager, **options), TEXT, VISION, answers=5, seed=0).eval(), text, vision


@pytest.mark.parametrize(("manager", "neutral"), [("mean", 0.0), ("bridge_product", 1.0)])
def test_its_projected_states_are_neutral_and_the_others_stay(manager: str, neutral: float) -> None:
    model, text, _ = gated(manager)
    assert isinstance(model.encoder, CrossModalEncoder)
    model.encoder.text.gate = None
    plain, removed = (model.encoder.experts("text", each).states for each in (text, replace(text, removed=3)))
    assert (removed[:, 2] == neutral).all()
    assert torch.equal(removed[:, :2], plain[:, :2])


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("expert", [1, 3])
def test_the_gate_does_not_carry_it_to_the_top_level(layers: int, expert: int) -> None:
    model, text, vision = gated("last", cross_layers=layers)
    run = lambda given: model.encoder(given, vision).pooled  # noqa: E731
    assert not torch.allclose(run(noise(text, expert)), run(text))
    removed = replace(text, removed=expert)
    torch.testing.assert_close(run(noise(removed, expert)), run(removed))
    assert not torch.allclose(run(removed), run(text))


def test_a_gated_top_level_is_removed_without_the_sum_that_it_carries() -> None:
    model, text, vision = gated("last")
    removed = replace(text, removed=3)
    run = lambda given: model.encoder(given, vision).pooled  # noqa: E731
    assert not torch.allclose(run(noise(removed, 1)), run(removed))
    assert model.encoder.holds_others("text", 3)
    assert not model.encoder.holds_others("text", 1)


def test_a_gate_of_one_level_adds_nothing_without_it() -> None:
    model, text, vision = gated("last")
    assert isinstance(model.encoder, CrossModalEncoder)
    model.encoder.image.gate = None
    ungated = model.encoder(text, vision).pooled
    gate = gated("last")[0]
    torch.testing.assert_close(gate.encoder(text, replace(vision, removed=1)).pooled, ungated)


def test_a_language_model_without_its_own_level_has_image_tokens_of_zeros(folder: Any) -> None:
    """Ones are what leaves a product as it is, of experts alone."""
    model = built(folder, "bridge_product", inject={"layers": [2, 4]})
    _, vision = inputs(model)
    own, experts = encoder_of(model)._image(replace(vision, removed=3))
    assert (own == 0).all()
    assert (experts.states[:, 2] == 1).all()


@pytest.mark.parametrize("layers", [[2, 4], [0, 2, 4]])
@pytest.mark.parametrize("manager", ["mean", "cross_attention"])
def test_a_language_model_reads_nothing_of_it(folder: Any, manager: str, layers: list[int]) -> None:
    """Level 4, the third, is also what the language model reads itself."""
    model = built(folder, manager, inject={"layers": layers})
    encoder, (text, vision) = encoder_of(model), inputs(model)
    for expert in (1, 2, 3):
        changes = {key: without(expert) for key, _ in encoder.managers()}
        run = lambda given, changes=changes: encoder(text, given, intervene=changes).pooled  # noqa: E731
        with torch.no_grad():
            removed = replace(vision, removed=expert)
            torch.testing.assert_close(run(noise(removed, expert)), run(removed))
            assert not torch.allclose(run(removed), encoder(text, vision).pooled)
