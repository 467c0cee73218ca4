"""Planted experts: what the data set and its towers promise, and that managers find the level that carries the code."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtlab.config.check import check_config
from mtlab.data.base import Example
from mtlab.data.worlds.planted import PlantedCodes
from mtlab.errors import UserError
from mtlab.managers.base import MODALITIES, Intervention
from mtlab.managers.interventions import without
from mtlab.model.base import ManagerKey
from mtlab.model.network import VisionLanguageModel
from mtlab.seeding import order
from mtlab.tasks.build import build
from mtlab.towers.base import Features
from mtlab.towers.build import build_tower, tower_node, tower_shape
from mtlab.towers.planted_codes import from_image, from_text, to_image, to_text

Kind = Literal["text", "vision"]
KINDS: tuple[Kind, Kind] = ("text", "vision")


def codes(**options: Any) -> PlantedCodes:
    return PlantedCodes(check_config(PlantedCodes.Config, options))


def levels(kind: Kind, world: PlantedCodes, examples: list[Example], **options: Any) -> Features:
    tower = build_tower(kind, {"name": "planted", **options})
    raw = [e.text if kind == "text" else world.image(e.image) for e in examples]
    features: Features = tower(*tower.prepare(raw))
    return features


def test_keys_hold_code_and_number() -> None:
    for code, item in ((0, 0), (3, 255), (255, 2**23 + 77)):
        assert from_text(to_text(code, item)) == (code, item)
        assert from_image(to_image(code, item)) == (code, item)
    with pytest.raises(UserError, match="read the texts of data set `planted` alone"):
        from_text("Is there a red circle?")
    with pytest.raises(UserError, match="read the images of data set `planted` alone, not one of 64×64×3"):
        from_image(np.zeros((64, 64, 3), np.uint8))


def test_the_answer_needs_both_codes() -> None:
    world = codes(train=1600, classes=4)
    pairs = Counter[tuple[int, int, int]]()
    for example in world.examples("train"):
        text, image = from_text(example.text)[0], from_image(world.image(example.image))[0]
        assert example.target == (text + image) % 4
        pairs[text, image, example.target] += 1
    assert len(pairs) == 16
    assert set(pairs.values()) == {100}  # so given either code, every answer is as frequent


def test_splits_share_no_example() -> None:
    world = codes(train=30, val=20, test=10)
    everything = [world.examples(split) for split in ("train", "val", "test")]
    assert [len(examples) for examples in everything] == [30, 20, 10]
    assert len({example.image for examples in everything for example in examples}) == 60
    assert len({example.text for examples in everything for example in examples}) == 60


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_planted_level_carries_the_code(kind: Kind) -> None:
    world = codes(train=1600)
    examples = list(world.examples("train"))
    features = levels(kind, world, examples, depth=4, planted=3, signal=1.0)
    code = torch.tensor([int(e.text.split()[1]) if kind == "text" else world.codes(int(e.image))[1] for e in examples])
    assert [tuple(level.shape) for level in features.levels] == [(1600, 4, 32)] * 4
    for number, level in enumerate(features.levels, 1):
        means = torch.stack([level[code == c].mean((0, 1)) for c in range(4)])
        spread = float((means - means.mean(0)).std())
        assert spread > 0.5 if number == 3 else spread < 0.06
        noise = level - means[code].unsqueeze(1)
        assert abs(float(noise.std()) - 1) < 0.02
        assert float((noise[:, 0] * noise[:, 1]).mean()) < 0.02  # tokens are independent


@pytest.mark.parametrize("kind", KINDS)
def test_noise_depends_on_the_example_alone(kind: Kind) -> None:
    world = codes()
    examples = list(world.examples("val"))[:5]
    everything = levels(kind, world, examples)
    alone = levels(kind, world, examples[3:4])
    top = levels(kind, world, examples, layers=[-1, 2])
    assert all(torch.equal(a[3:4], b) for a, b in zip(everything.levels, alone.levels, strict=True))
    assert torch.equal(top.levels[0], everything.levels[1])
    assert torch.equal(top.levels[1], everything.levels[5])
    other = levels(kind, world, examples, seed=1)
    assert not torch.equal(other.levels[0], everything.levels[0])
    assert not torch.equal(levels("text", world, examples).levels[0], levels("vision", world, examples).levels[0])


def test_the_shape_is_told_without_weights_and_on_the_meta_device() -> None:
    node = {"name": "planted", "depth": 5, "planted": 2, "width": 8, "tokens": 3, "layers": "top3"}
    shape = tower_shape("vision", node)
    assert (shape.levels, shape.widths, shape.tokens, shape.depth) == ((3, 4, 5), (8, 8, 8), 3, 5)
    with torch.device("meta"):
        tower = build_tower("vision", node, weights=False)
        features = tower(*tower.dummy_inputs(2))
    assert [tuple(level.shape) for level in features.levels] == [(2, 3, 8)] * 3
    assert features.levels[0].is_meta


def test_a_level_that_does_not_exist_cannot_be_planted() -> None:
    with pytest.raises(UserError, match="plant a level that exists") as raised:
        tower_node("text", {"name": "planted", "depth": 3, "planted": 4})
    assert raised.value.key == "text.planted"


NODE = {"name": "planted", "depth": 6, "planted": 3}


@cache
def data(split: Literal["train", "val"]) -> tuple[Features, Features, Tensor]:
    """What the towers give for a split, and the answers."""
    world = codes(train=2000, val=400)
    examples = list(world.examples(split))
    text, vision = (levels(kind, world, examples, depth=6, planted=3) for kind in KINDS)
    return text, vision, torch.tensor([example.target for example in examples])


class Trial:
    """A model trained on planted features held in memory: level 3 of 6 carries the code, in both towers."""

    def __init__(self, manager: dict[str, Any], layers: int, *, steps: int, seed: int = 0) -> None:
        model = {"width": 32, "heads": 4, "cross_layers": layers, "mlp_ratio": 2, "dropout": 0.0}
        config = {"model": model, "manager": manager, "task": {"name": "question_answering"}}
        shapes = [tower_shape(kind, NODE) for kind in KINDS]
        self.model: VisionLanguageModel = build(config, shapes[0], shapes[1], answers=4, seed=seed)
        self.fit(steps, seed)

    def fit(self, steps: int, seed: int) -> None:
        quick = {f"encoder.{name}" for name in self.model.encoder.layer_weight_names()}
        named = dict(self.model.named_parameters())
        optimiser = torch.optim.AdamW(
            [
                {"params": [p for name, p in named.items() if name not in quick], "lr": 1e-3},
                {"params": [p for name, p in named.items() if name in quick], "lr": 1e-2, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
        )
        text, vision, targets = data("train")
        rows = torch.cat(
            [torch.from_numpy(order(seed, epoch, len(targets))) for epoch in range(steps * 32 // len(targets) + 2)]
        )
        self.model.train()
        for step in range(steps):
            chosen = rows[step * 32 : (step + 1) * 32]
            logits = self.model(take(text, chosen), take(vision, chosen)).logits
            optimiser.zero_grad()
            functional.cross_entropy(logits, targets[chosen]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    @torch.no_grad()
    def accuracy(self, intervene: dict[ManagerKey, Intervention] | None = None) -> float:
        text, vision, targets = data("val")
        self.model.eval()
        return float((self.model(text, vision, intervene=intervene).logits.argmax(-1) == targets).float().mean())

    @torch.no_grad()
    def contributions(self, depth: int) -> dict[str, Tensor]:
        """Each expert's share at a depth, by modality, [N]."""
        text, vision, _ = data("val")
        recorded = self.model.eval()(text, vision, record=True).fused.recorded
        return {modality: recorded[modality, depth].contributions[:, :6].mean((0, 2)) for modality in MODALITIES}

    def cost_of_removal(self) -> list[float]:
        """Accuracy lost when an expert is removed wherever it is read."""
        full = self.accuracy()
        places = [key for key, _ in self.model.encoder.managers()]
        return [full - self.accuracy(dict.fromkeys(places, without(expert))) for expert in range(1, 7)]


def take(features: Features, rows: Tensor) -> Features:
    return Features(tuple(level[rows] for level in features.levels), features.mask)


@pytest.mark.parametrize(("name", "layers"), [("static", 1), ("adaptive", 2)])
def test_a_manager_with_learned_weights_finds_the_planted_expert(name: str, layers: int) -> None:
    trial = Trial({"name": name}, layers, steps=400)
    assert trial.accuracy() > 0.9
    for modality, share in trial.contributions(layers - 1).items():
        assert int(share.argmax()) == 2, (modality, share)
    costs = trial.cost_of_removal()
    assert int(np.argmax(costs)) == 2, costs
    assert costs[2] > 0.4


def test_a_bridge_needs_the_planted_expert() -> None:
    assert Trial({"name": "bridge", "experts": [3]}, 1, steps=200).accuracy() > 0.9
    assert Trial({"name": "bridge", "experts": [6]}, 1, steps=200).accuracy() < 0.35
