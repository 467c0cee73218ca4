"""The encoder and the whole model: fusion, masks, initial values, noise, names, and what they refuse."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mtlab.config.schema import ModelConfig
from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS, Aggregated, Inputs, Place
from mtlab.managers.bridges.last import Last
from mtlab.managers.interventions import uniform_of, without
from mtlab.model.encoder import draw_noise, levels_read
from mtlab.model.initial import initialise
from mtlab.model.network import VisionLanguageModel
from mtlab.tasks.build import build
from mtlab.towers.base import Features, TowerShape
from mtlab.towers.build import build_tower, tower_shape

TEXT = TowerShape((12, 12, 12), (2, 3, 4), 4, 9, class_token=True, positions=True)
VISION = TowerShape((6, 10), (1, 5), 5, 8, class_token=False, positions=False)
NAMES = ["last", "mean", "bridge", "static", "adaptive"]


def config(manager: dict[str, Any] | str, **model: Any) -> dict[str, Any]:
    node = {"name": manager} if isinstance(manager, str) else manager
    options = {"width": 16, "heads": 4, "cross_layers": 2, "mlp_ratio": 2} | model
    return {"manager": node, "model": options, "task": {"name": "question_answering"}}


def model(manager: dict[str, Any] | str, *, seed: int = 0, **options: Any) -> VisionLanguageModel:
    return build(config(manager, **options), TEXT, VISION, answers=5, seed=seed).eval()


def features(lengths: tuple[int, ...] = (7, 4)) -> tuple[Features, Features]:
    generator = torch.Generator().manual_seed(0)
    text = tuple(torch.randn(2, 7, 12, generator=generator) for _ in range(3))
    vision = tuple(torch.randn(2, 8, width, generator=generator) for width in (6, 10))
    mask = torch.arange(7) < torch.tensor(lengths).unsqueeze(1)
    return Features(text, mask), Features(vision)


def padded(given: Features, extra: int) -> Features:
    """The same texts with more padding, full of rubbish."""
    assert given.mask is not None
    levels = [torch.where(given.mask.unsqueeze(-1), level, 50.0) for level in given.levels]
    rubbish = [torch.full((2, extra, level.shape[2]), -50.0) for level in levels]
    mask = torch.cat([given.mask, torch.zeros(2, extra, dtype=torch.bool)], 1)
    return Features(tuple(torch.cat(pair, 1) for pair in zip(levels, rubbish, strict=True)), mask)


@pytest.mark.parametrize(("manager", "layers"), [("last", 0), *product(NAMES, (1, 3))])
def test_padding_changes_nothing(manager: str, layers: int) -> None:
    encoder, (text, vision) = model(manager, cross_layers=layers).encoder, features()
    plain, more = encoder(text, vision), encoder(padded(text, 2), vision)
    assert text.mask is not None
    torch.testing.assert_close(more.pooled, plain.pooled)
    torch.testing.assert_close(more.image, plain.image)
    torch.testing.assert_close(more.text[:, :7][text.mask], plain.text[text.mask])


def test_text_and_image_reach_each_other() -> None:
    encoder, (text, vision) = model("bridge").encoder, features()
    other = Features(tuple(level.flip(0) for level in vision.levels))
    plain, changed = encoder(text, vision), encoder(text, other)
    assert not torch.allclose(plain.text, changed.text)


def test_no_cross_modal_layers_pool_the_top_experts() -> None:
    encoder, (text, vision) = model("last", cross_layers=0).encoder, features()
    fused = encoder(text, vision, record=True)
    top = encoder.text.experts(text).states[:, -1]
    assert torch.equal(fused.text, top)
    torch.testing.assert_close(fused.pooled[:, :16], torch.tanh(encoder.text.pooler.linear(top[:, 0])))
    mean = encoder.image.experts(vision).states[:, -1].mean(1)
    torch.testing.assert_close(fused.pooled[:, 16:], torch.tanh(encoder.image.pooler.linear(mean)))
    assert fused.recorded == {}


def test_experts_carry_modality_and_level() -> None:
    encoder, (_, vision) = model("mean").encoder, features()
    stream = encoder.image
    states = stream.experts(vision).states
    for number, absolute in enumerate((1, 5)):
        linear = stream.projections.levels[str(absolute)]
        row = stream.embeddings.layer.weight[absolute - 1] + stream.embeddings.token_type.weight[0]
        expected = linear(vision.levels[number]) + row
        torch.testing.assert_close(states[:, number], expected)
    assert encoder.text.projections.shared is not None, "its levels have one width"
    assert not torch.equal(encoder.text.embeddings.token_type.weight, stream.embeddings.token_type.weight)


@pytest.mark.parametrize("manager", ["last", "bridge", "mean"])
def test_positions_enter_once_however_many_levels_are_mixed(manager: str) -> None:
    encoder, (text, vision) = model(manager).encoder.eval(), features()
    assert encoder.text.embeddings.position is None, "the text tower knows positions"
    positions = encoder.image.embeddings.position.weight
    entered: list[list[torch.Tensor]] = [[], []]
    for depth in (0, 1):
        encoder.layer("image", depth).register_forward_pre_hook(lambda _, given, at=depth: entered[at].append(given[0]))
    encoder(text, vision)
    with torch.no_grad():
        added = positions.clone()
        positions.zero_()
    encoder(text, vision)
    (known, unknown), (later, later_unknown) = entered
    torch.testing.assert_close(known - unknown, added.expand_as(known), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(later, later_unknown), "the layers above know them from the states below"


@pytest.mark.parametrize("manager", NAMES)
def test_all_that_is_trained_gets_a_gradient(manager: str) -> None:
    whole, (text, vision) = model(manager), features()
    inert = set()
    for (modality, depth), part in whole.encoder.managers():  # equal scores hide the temperature
        if hasattr(part, "score"):
            torch.nn.init.normal_(part.score, generator=torch.Generator().manual_seed(0))
        inert |= {f"encoder.{modality}.managers.{depth}.{name}" for name in part.inert}
    whole(text, vision).logits.square().sum().backward()
    without = {name for name, p in whole.named_parameters() if p.grad is None}
    assert without <= inert


class TestInitialValues:
    def test_variants_share_all_that_they_have_in_common(self) -> None:
        states = {name: model(name, seed=3).state_dict() for name in NAMES}
        reference = states["adaptive"]
        for name, state in states.items():
            shared = [key for key in state if key in reference and state[key].shape == reference[key].shape]
            assert len(shared) >= 100
            assert all(torch.equal(state[key], reference[key]) for key in shared), name

    def test_depth_does_not_move_what_is_below(self) -> None:
        shallow, deep = model("static", cross_layers=1).state_dict(), model("static", cross_layers=3).state_dict()
        assert all(torch.equal(value, deep[key]) for key, value in shallow.items())

    def test_seeds_and_modules_differ(self) -> None:
        first, second = model("last", seed=0).encoder, model("last", seed=1).encoder
        name = "self_attention.query.weight"
        values = [e.get_parameter(f"text.layers.{d}.{name}") for e in (first, second) for d in range(2)]
        assert all(not torch.equal(a, b) for i, a in enumerate(values) for b in values[:i])

    def test_distribution(self) -> None:
        linear = torch.nn.Linear(300, 300)
        norm = torch.nn.LayerNorm(8)
        module = torch.nn.ModuleDict({"linear": linear, "norm": norm})
        norm.weight.data.fill_(3.0)
        initialise(module, 0)
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert linear.weight.mean().item() == pytest.approx(0.0, abs=2e-4)
        assert not linear.bias.any()
        assert (norm.weight == 1).all()

    def test_layer_scores_keep_their_constructors_values(self) -> None:
        score = model("static").encoder.text.managers[1].score
        assert torch.equal(score, torch.full_like(score, 1 / 3))

    def test_building_leaves_the_global_generator_alone(self) -> None:
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        model("adaptive")
        assert torch.equal(torch.rand(1), expected)


class TestNoise:
    NODE = {"name": "adaptive", "noise": 0.5}  # noqa: RUF012

    def draw(self, manager: dict[str, Any] | str, seed: int = 0) -> dict[tuple[str, int], Tensor]:
        text, vision = features()

        def generator(modality: str, depth: int) -> torch.Generator:
            return torch.Generator().manual_seed(seed + 10 * depth + len(modality))

        return draw_noise(model(manager).encoder, text, vision, generator)

    def test_is_drawn_for_managers_that_want_it(self) -> None:
        assert self.draw("adaptive") == {}
        assert self.draw("bridge") == {}
        drawn = self.draw(self.NODE)
        assert {key: tuple(noise.shape) for key, noise in drawn.items()} == {
            ("text", 0): (2, 3, 7, 16),
            ("text", 1): (2, 3, 7, 16),
            ("image", 0): (2, 2, 8, 16),
            ("image", 1): (2, 2, 8, 16),
        }
        assert drawn["text", 0].std().item() == pytest.approx(0.5 / 3, rel=0.1)
        assert drawn["image", 0].std().item() == pytest.approx(0.5 / 2, rel=0.1)

    def test_rests_on_its_generators_alone(self) -> None:
        first, again, other = self.draw(self.NODE), self.draw(self.NODE), self.draw(self.NODE, seed=1)
        assert all(torch.equal(noise, again[key]) for key, noise in first.items())
        assert not any(torch.equal(noise, other[key]) for key, noise in first.items())

    def test_reaches_the_output(self) -> None:
        text, vision = features()
        whole, noise = model(self.NODE), self.draw(self.NODE)
        assert not torch.equal(whole(text, vision, noise=noise).logits, whole(text, vision).logits)


class TestInterventions:
    def test_take_effect_where_they_are_put(self) -> None:
        whole, (text, vision) = model("static"), features()
        plain = whole(text, vision).fused
        removed = whole(text, vision, intervene={("text", 1): without(2)}, record=True).fused
        assert not torch.allclose(removed.pooled, plain.pooled)
        assert removed.recorded is not None
        assert (removed.recorded["text", 1].weights[:, 1] == 0).all()
        assert (removed.recorded["text", 0].weights[:, 1] > 0).all()

    def test_uniform_weights_are_what_the_mean_has_already(self) -> None:
        whole, (text, vision) = model("mean"), features()
        same = {key: uniform_of(manager) for key, manager in whole.encoder.managers()}
        torch.testing.assert_close(whole(text, vision, intervene=same).logits, whole(text, vision).logits)


class TestTowers:
    NODES = {"text": {"name": "tiny_text", "layers": "top2"}, "vision": {"name": "tiny_vision"}}  # noqa: RUF012

    def build(self, **changes: dict[str, Any]) -> VisionLanguageModel:
        nodes = {kind: node | changes.get(kind, {}) for kind, node in self.NODES.items()}
        shapes = [tower_shape(kind, node) for kind, node in nodes.items()]
        towers = [build_tower(kind, node) for kind, node in nodes.items()]
        return build(config("adaptive"), *shapes, answers=5, text_tower=towers[0], vision_tower=towers[1])

    def raw(self, whole: VisionLanguageModel) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
        texts = ["a red square", "is there a blue circle below it ?"]
        return whole.towers["text"].prepare(texts), whole.towers["vision"].prepare(list(pixels))

    def test_raw_input_and_features_give_the_same(self) -> None:
        whole = self.build().eval()
        text, vision = self.raw(whole)
        given = whole.features("text", text), whole.features("vision", vision)
        torch.testing.assert_close(whole(text, vision).logits, whole(*given).logits)

    def test_parameters_are_named_by_part(self) -> None:
        rooms = {name.split(".")[0] for name, _ in self.build().named_parameters()}
        assert rooms == {"encoder", "task", "towers"}
        assert {name.split(".")[1] for name, _ in self.build().towers.named_parameters(prefix="towers")} == {
            "text",
            "vision",
        }

    def test_frozen_towers_stay_as_they_are(self) -> None:
        whole = self.build(text={"trainable": True}).train()
        assert whole.towers["text"].training
        assert not whole.towers["vision"].training
        text, vision = self.raw(whole)
        assert whole.features("text", text).levels[0].requires_grad
        assert not whole.features("vision", vision).levels[0].requires_grad
        whole(text, vision).logits.sum().backward()
        assert any(p.grad is not None for p in whole.towers["text"].parameters())
        assert all(p.grad is None for p in whole.towers["vision"].parameters())

    def test_levels_come_without_towers(self) -> None:
        whole = model("last")
        assert not whole.towers
        assert whole(*features()).logits.shape == (2, 5)


def test_dropout_in_training_alone() -> None:
    whole, given = model("last", dropout=0.5), features()
    assert torch.equal(whole(*given).logits, whole(*given).logits)
    whole.train()
    assert not torch.equal(whole(*given).logits, whole(*given).logits)


def test_layer_weights_are_named() -> None:
    encoder = model("adaptive").encoder
    named = dict(encoder.named_parameters())
    assert encoder.layer_weight_names() == {
        f"{m}.managers.{rest}" for m in ("text", "image") for rest in ("0.score", "1.previous_weight")
    }
    assert encoder.layer_weight_names() <= set(named)
    assert model("bridge").encoder.layer_weight_names() == set()


def test_pairing_is_known_before_anything_is_built() -> None:
    options = ModelConfig(width=16, heads=4, cross_layers=2)
    assert levels_read(options, {"name": "bridge"}, TEXT, VISION) == {
        ("text", 0): [3],
        ("text", 1): [4],
        ("image", 0): [1],
        ("image", 1): [5],
    }
    assert levels_read(options, {"name": "last"}, TEXT, VISION)["text", 1] == []


class ReadsTheOtherSide(Last):
    """The top expert, and in the text's managers the lowest of the image's experts."""

    @classmethod
    def other_experts_used(cls, config: Any, place: Place) -> list[int]:  # noqa: ARG003
        return [1] if place.modality == "text" else []

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        result, other = super().forward(inputs, **kwargs), inputs.other_experts
        assert (other is None) == (self.place.modality == "image")
        return result if other is None else replace(result, hidden=result.hidden + other.levels[0].mean((0, 1)))


def test_the_other_modalitys_levels_are_projected_for_a_manager_that_reads_them() -> None:
    MANAGERS.import_all()
    MANAGERS.register("reads_the_other_side")(ReadsTheOtherSide)
    try:
        encoder = model("reads_the_other_side").encoder
    finally:
        del MANAGERS.entries["reads_the_other_side"]
    text, vision = features()
    encoder(text, vision).text[..., 0].sum().backward()  # over all dimensions a norm's output sums to a constant
    assert encoder.image.projections.used == {1, 2}
    assert encoder.text.projections.used == {3}
    for level in (1, 5):  # the image's levels
        gradient = encoder.image.projections.levels[str(level)].weight.grad
        assert gradient.abs().max() > 0


class AddsUp(Last):
    """Behind the last layer the sum of all outputs below it, and elsewhere the previous state."""

    noise_scale, noise_kind = 0.25, "uniform"

    @classmethod
    def mixes_output(cls, config: Any, place: Place) -> bool:  # noqa: ARG003
        return place.modality in ("text", "image") and place.depth == place.layers

    def noise_shape(self, batch: int, length: int) -> tuple[int, ...]:  # noqa: ARG002
        return 1, self.place.experts, 1, self.place.width

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        if self.place.depth < self.place.layers:
            return super().forward(inputs, **kwargs)
        assert inputs.other is not None
        return Aggregated(torch.stack(list(inputs.history)).sum(0))


@pytest.fixture
def adds_up() -> Iterator[str]:
    MANAGERS.import_all()
    MANAGERS.register("adds_up")(AddsUp)
    yield "adds_up"
    del MANAGERS.entries["adds_up"]


def test_a_manager_that_says_so_mixes_the_output_behind_the_last_layer(adds_up: str) -> None:
    mixing, plain, given = model(adds_up).encoder, model("last").encoder, features()
    plain.load_state_dict(mixing.state_dict())
    outputs: dict[int, Tensor] = {}
    for depth in (0, 1):
        plain.layer("text", depth).register_forward_hook(lambda *args, at=depth: outputs.update({at: args[-1]}))
    plain(*given)
    found = mixing(*given, record=True)
    assert torch.equal(found.text, outputs[0] + outputs[1])
    assert [depth for modality, depth in found.recorded or {} if modality == "text"] == [0, 1, 2]
    assert len(mixing.text.layers) == 2
    with pytest.raises(UserError, match="pools the top levels"):
        model(adds_up, cross_layers=0)


def test_uniform_noise_has_the_shape_that_the_manager_asks_for(adds_up: str) -> None:
    drawn = draw_noise(model(adds_up).encoder, *features(), lambda *_: torch.Generator().manual_seed(0))
    noise = drawn["text", 0]
    assert noise.shape == (1, 3, 1, 16)
    assert noise.min() >= 0.75
    assert noise.max() <= 1.25
    assert abs(noise.mean().item() - 1) < 0.1
