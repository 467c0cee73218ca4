"""Managers in a language model that are offered other levels than the one that it reads itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_mllm_encoder import VISION, answers, built, encoder_of, folder, inputs
from torch import Tensor
from torch.nn import functional as F

from mtlab.config.check import check_config
from mtlab.config.schema import InjectConfig, MultimodalConfig
from mtlab.errors import UserError
from mtlab.managers.interventions import replacement, uniform_of, without
from mtlab.model.mllm.places import injected_levels
from mtlab.tasks.build import TaskModel
from mtlab.towers.build import tower_shape
from mtlab.training.intervention_metrics import _expert_weights

__all__ = ["answers", "folder"]  # fixtures
BELOW = {"layers": [0, 2, 4], "levels": [1, 3]}  # the tower offers 1, 3 and 4: the language model reads 4


def static(folder: Path, inject: dict[str, Any] = BELOW) -> TaskModel:
    """A model whose static managers have random weights: two levels, in layers above 0."""
    model = built(folder, {"name": "residual_static"}, inject=inject)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.encoder.named_parameters():
        if name.endswith("gate"):
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return model


def states(model: TaskModel, **options: Any) -> Tensor:
    with torch.no_grad():
        fused = encoder_of(model)(*inputs(model), **options)
    return torch.cat([fused.image, fused.text], 1)


def test_managers_add_their_levels_and_the_model_reads_its_own(folder: Path) -> None:
    model = static(folder)
    encoder, (text, vision) = encoder_of(model), inputs(model)
    with torch.no_grad():
        low, middle, own = (
            encoder.projector(F.linear(level, *encoder.projections.affine(number)))
            for number, level in enumerate(vision.levels, 1)
        )
        assert encoder.level_embeddings is not None
        assert encoder.level_embeddings.shape == (2, 16)
        low, middle = low + encoder.level_embeddings[0], middle + encoder.level_embeddings[1]

        def add(layer: int, own: Tensor) -> Tensor:
            gate = encoder.manager("image", layer).gate
            terms = zip(gate[0], [low] if layer == 0 else [low, middle], strict=True)
            return own + sum(weight * level for weight, level in terms)

        def hook(layer: int) -> Any:
            return lambda _, args: (torch.cat([add(layer, args[0][:, :5]), args[0][:, 5:]], 1), *args[1:])

        network, hidden = encoder.tower.network.model, torch.cat([own, text.levels[0]], 1)
        hooks = [network.layers[layer].register_forward_pre_hook(hook(layer)) for layer in BELOW["layers"]]
        assert text.mask is not None
        mask = F.pad(text.mask, (5, 0), value=True)
        plain = network(inputs_embeds=hidden, attention_mask=mask.long()).last_hidden_state
        for each in hooks:
            each.remove()
    torch.testing.assert_close(states(model)[mask], plain[mask], atol=1e-5, rtol=1e-5)


def test_all_levels_are_offered_where_none_are_named(folder: Path) -> None:
    named = static(folder, BELOW | {"levels": [4, 3, 1]})
    assert torch.equal(states(named), states(static(folder, {"layers": [0, 2, 4]})))


def test_what_is_recorded_has_a_row_for_each_level_of_the_tower(folder: Path) -> None:
    model = static(folder)
    assert encoder_of(model).levels["image"] == (1, 3, 4)
    with torch.no_grad():
        recorded = model(*inputs(model), record=True).fused.recorded
    for layer, unoffered, previous in ((0, 1, 0), (2, 2, 1), (4, 2, 1)):
        each = recorded["image", layer]
        for rows in (each.weights, each.contributions):
            assert rows.shape[1] == 3 + previous
            assert [bool(rows[:, row].isnan().all()) for row in range(3)] == [row == unoffered for row in range(3)]
        gate = encoder_of(model).manager("image", layer).gate
        assert torch.equal(each.weights[0, : gate.shape[1]], gate[0])
        torch.testing.assert_close(each.contributions.nansum(1), torch.ones(2, 5))


@pytest.mark.parametrize("manager", ["residual_static", "mean"])
def test_interventions_name_the_levels_of_the_tower(folder: Path, manager: str) -> None:
    model = static(folder) if manager == "residual_static" else built(folder, manager, inject=BELOW)
    keys = [key for key, _ in model.encoder.managers()]

    def under(change: Any, *layers: int) -> Tensor:
        return states(model, intervene={key: change for key in keys if key[1] in layers})

    same = states(model)
    torch.testing.assert_close(under(lambda weights: weights, 0, 2, 4), same, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(under(without(2), 0), same, atol=1e-5, rtol=1e-5)  # level 3 is not read there
    torch.testing.assert_close(under(without(3), 2, 4), same, atol=1e-5, rtol=1e-5)  # nor is level 4 here
    assert not torch.allclose(under(without(3), 0), same, atol=1e-2)
    assert not torch.allclose(under(without(2), 2, 4), same, atol=1e-2)
    if manager == "mean":
        encoder = encoder_of(model)
        changes = {key: uniform_of(encoder.manager(*key), encoder.rows_offered(*key)) for key in keys}
        torch.testing.assert_close(states(model, intervene=changes), same, atol=1e-5, rtol=1e-5)


def test_the_weights_of_a_model_put_in_their_place_change_nothing(folder: Path) -> None:
    """`mtlab intervene --swap` reads recorded weights, NaN where a level is not offered."""
    model = static(folder)
    with torch.no_grad():
        recorded = model(*inputs(model), record=True).fused.recorded
    swapped = {
        key: replacement(_expert_weights(recorded[key], manager, 3)) for key, manager in model.encoder.managers()
    }
    torch.testing.assert_close(states(model, intervene=swapped), states(model), atol=1e-5, rtol=1e-5)


def test_levels_that_no_manager_is_offered_are_not_removed(folder: Path) -> None:
    assert list(encoder_of(static(folder)).offered_levels("image")) == [1, 3, 4]  # layer 0 is offered the model's own
    above = encoder_of(static(folder, {"layers": [2, 4], "levels": [1, 3]}))
    assert list(above.offered_levels("image")) == [1, 3]


def test_the_pairing_names_the_levels_of_the_tower(folder: Path) -> None:
    text = tower_shape("text", {"name": "causal_lm", "model": str(folder)})
    model = MultimodalConfig(inject=InjectConfig(layers=(0, 2, 4), levels=(1, 3)))

    def pairs(manager: str) -> list[list[int]]:
        return list(injected_levels(model, {"name": manager}, text, VISION).values())

    assert pairs("residual_static") == [[1, 4], [1, 3], [1, 3]]
    assert pairs("last") == [[4], [], []]
    assert pairs("bridge") == [[1], [1], [3]]


@pytest.mark.parametrize(
    ("levels", "problem"),
    [
        ([1, 2], r"model\.inject\.levels: expected levels of vision\.layers \(1, 3, 4\), found 1, 2$"),
        ([], r"model\.inject\.levels: expected levels of vision\.layers \(1, 3, 4\), found none$"),
        ([3, 1, 3], r"model\.inject\.levels: names a level twice: 1, 3, 3$"),
    ],
)
def test_levels_that_the_tower_does_not_offer_are_refused(folder: Path, levels: list[int], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        built(folder, inject={"layers": [0], "levels": levels})


def test_a_level_below_the_first_is_out_of_range() -> None:
    with pytest.raises(UserError, match=r"inject\.levels: 0 is out of range: must be at least 1"):
        check_config(MultimodalConfig, {"inject": {"levels": [0, 1]}})
