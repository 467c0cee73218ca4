from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from mtlab.config.check import check_config
from mtlab.config.schema import TrainConfig
from mtlab.errors import UserError
from mtlab.model.network import VisionLanguageModel
from mtlab.tasks.build import build
from mtlab.towers.build import build_tower, tower_shape
from mtlab.training.optimisation.muon import BatchedMuon
from mtlab.training.optimisation.optimiser import load_state, make_optimiser, set_learning_rate, state_tensors
from mtlab.training.optimisation.parameter_groups import ParameterGroup, parameter_groups

TRAIN = TrainConfig(lr=1e-2, lr_head=3.0, lr_cross=2.0, lr_layer_weights=10.0, weight_decay=0.1)


def model_of(manager: dict[str, Any], *, trained: tuple[str, ...] = ()) -> VisionLanguageModel:
    text = {"name": "tiny_text", "depth": 2, "width": 8, "heads": 2, "trainable": "text" in trained}
    vision = {"name": "tiny_vision", "depth": 2, "width": 8, "heads": 2, "trainable": "vision" in trained}
    config: Mapping[str, Any] = {
        "manager": manager,
        "model": {"width": 8, "heads": 2, "cross_layers": 2},
        "task": {"name": "question_answering"},
    }
    return build(
        config,
        tower_shape("text", text),
        tower_shape("vision", vision),
        answers=3,
        text_tower=build_tower("text", text),
        vision_tower=build_tower("vision", vision),
    )


def by_name(chosen: tuple[ParameterGroup, ...]) -> dict[str, ParameterGroup]:
    return {name: group for group in chosen for name in group.names}


def test_every_trained_parameter_is_in_one_group_and_no_frozen_one() -> None:
    model = model_of({"name": "adaptive"}, trained=("text",))
    chosen = parameter_groups(model, TRAIN, {"text": 0.5})
    listed = [name for group in chosen for name in group.names]
    assert sorted(listed) == sorted(name for name, p in model.named_parameters() if p.requires_grad)
    assert not any(name.startswith("towers.vision") for name in listed)


@pytest.mark.parametrize(
    ("name", "part", "scale", "decayed"),
    [
        ("task.head.0.weight", "head", 3.0, True),
        ("task.head.0.bias", "head", 3.0, False),
        ("task.head.1.weight", "head", 3.0, False),  # a LayerNorm
        ("encoder.text.layers.1.feed_forward.widen.weight", "encoder", 2.0, True),
        ("encoder.image.managers.0.temperature", "encoder", 2.0, False),
        ("encoder.image.managers.0.scale", "encoder", 2.0, False),
        ("encoder.image.managers.0.score", "layer weights", 10.0, False),
        ("encoder.text.managers.1.previous_weight", "layer weights", 10.0, False),
        ("encoder.text.embeddings.layer.weight", "encoder", 2.0, False),
        ("encoder.text.projections.shared.weight", "encoder", 2.0, True),
        ("towers.text.blocks.0.qkv.weight", "text tower", 0.5, True),
        ("towers.text.words.weight", "text tower", 0.5, False),
        ("towers.vision.patches.weight", "vision tower", 0.25, True),
        ("towers.vision.summary", "vision tower", 0.25, False),
    ],
)
def test_which_group_a_parameter_is_in(name: str, part: str, scale: float, decayed: bool) -> None:
    model = model_of({"name": "static"}, trained=("text", "vision"))
    group = by_name(parameter_groups(model, TRAIN, {"text": 0.5, "vision": 0.25}))[name]
    assert (group.part, group.scale, group.decayed) == (part, scale, decayed)


def test_a_frozen_static_manager_trains_no_scores() -> None:
    chosen = by_name(parameter_groups(model_of({"name": "static", "frozen": True}), TRAIN, {}))
    assert "encoder.text.managers.0.score" not in chosen
    assert "encoder.text.managers.1.previous_weight" in chosen


def test_rates_and_decay_reach_the_optimiser() -> None:
    model = model_of({"name": "static"})
    chosen = parameter_groups(model, TRAIN, {})
    optimiser = make_optimiser(model, chosen, TRAIN)
    set_learning_rate(optimiser, chosen, 0.5)
    for group, described in zip(optimiser.param_groups, chosen, strict=True):
        assert group["lr"] == 0.5 * described.scale
        assert group["weight_decay"] == (0.1 if described.decayed else 0.0)
        assert group["betas"] == TRAIN.betas


def test_the_update_is_that_of_plain_adamw() -> None:
    """Written out by hand, two steps: decoupled decay, bias correction."""
    model = model_of({"name": "mean"})
    train = replace(TRAIN, eps=1e-6)
    chosen = parameter_groups(model, train, {})
    optimiser = make_optimiser(model, chosen, train)
    name = "task.head.3.weight"
    parameter = dict(model.named_parameters())[name]
    expected, first, second = parameter.detach().double().clone(), 0.0, 0.0
    lr, (beta1, beta2) = train.lr * 3.0, train.betas
    for step in (1, 2):
        gradient = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
        for other in model.parameters():
            other.grad = None
        parameter.grad = gradient
        set_learning_rate(optimiser, chosen, train.lr)
        optimiser.step()
        first = beta1 * first + (1 - beta1) * gradient.double()
        second = beta2 * second + (1 - beta2) * gradient.double() ** 2
        expected = expected * (1 - lr * train.weight_decay)
        expected -= lr * (first / (1 - beta1**step)) / ((second / (1 - beta2**step)).sqrt() + train.eps)
    torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_state_goes_out_and_back_by_name(name: str) -> None:
    def stepped(model: VisionLanguageModel, optimiser: torch.optim.Optimizer) -> None:
        for number, parameter in enumerate(p for p in model.parameters() if p.requires_grad):
            parameter.grad = torch.full_like(parameter, 0.1 * (number + 1))
        optimiser.step()

    train = check_config(TrainConfig, {"optimizer": name})
    one, two = model_of({"name": "static"}), model_of({"name": "static"})
    chosen = parameter_groups(one, train, {})
    first, second = make_optimiser(one, chosen, train), make_optimiser(two, chosen, train)
    stepped(one, first)
    two.load_state_dict(one.state_dict())
    load_state(second, chosen, {name: tensor.clone() for name, tensor in state_tensors(first, chosen).items()})
    stepped(one, first)
    stepped(two, second)
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, dict(two.named_parameters())[name]), name


def test_muon_has_the_matrices_of_the_encoder_alone() -> None:
    """Its update by hand: the gradient's singular vectors, steps of AdamW's size."""
    model = model_of({"name": "static"}, trained=("text",))
    train = replace(TRAIN, optimizer="muon", weight_decay=0.0)
    chosen = parameter_groups(model, train, {"text": 1.0})
    grouped = by_name(chosen)
    of_muon = {name for name, group in grouped.items() if group.by_muon}
    assert "encoder.text.layers.1.feed_forward.widen.weight" in of_muon
    assert "encoder.image.projections.shared.weight" in of_muon
    others = ("task.head.0.weight", "encoder.text.managers.0.score", "encoder.text.embeddings.layer.weight")
    assert not of_muon & set(others)
    assert not any(name.startswith("towers.") or name.endswith("bias") for name in of_muon)
    optimiser = make_optimiser(model, chosen, train)
    set_learning_rate(optimiser, chosen, 1e-2)
    name = "encoder.text.layers.1.self_attention.out.weight"
    parameter = dict(model.named_parameters())[name]
    before = parameter.detach().clone()
    parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    optimiser.step()
    u, _, vh = torch.linalg.svd(parameter.grad)
    step = (before - parameter.detach()) / (1e-2 * grouped[name].scale * 0.2 * max(parameter.shape) ** 0.5)
    along = torch.diagonal(u.mT @ step @ vh.mT)  # 1 in exact arithmetic; five Newton-Schulz steps in bfloat16 are near
    assert along.min() > 0.5
    assert along.max() < 1.5


def test_batched_muon_is_torchs_own() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 8), (8, 8), (16, 8), (8, 24), (16, 8), (3, 8)]
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    ours, theirs = ([torch.nn.Parameter(tensor.clone()) for tensor in start] for _ in range(2))
    options: dict[str, Any] = {"lr": 0.05, "weight_decay": 0.1}
    torchs = torch.optim.Muon(theirs, **options, adjust_lr_fn="match_rms_adamw")
    optimisers = BatchedMuon([{"params": ours, **options}]), torchs
    for _ in range(5):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        ours[1].grad = theirs[1].grad = None  # as of a module that a batch does not reach
        for optimiser in optimisers:
            optimiser.step()
    for one, other, before in zip(ours, theirs, start, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3 * 0.2 * max(one.shape) ** 0.5)  # bfloat16
        assert torch.equal(one, before) == (one is ours[1])


def test_muon_and_the_published_grouping_exclude_one_another() -> None:
    with pytest.raises(UserError, match="official grouping is AdamW's"):
        check_config(TrainConfig, {"optimizer": "muon", "grouping": "official"})
