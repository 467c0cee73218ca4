"""`train.grouping: official`: every parameter is in the group that the published code puts it in."""

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mtlab.config.check import check_config
from mtlab.config.schema import TrainConfig
from mtlab.errors import UserError
from mtlab.interop.families import detect_layout
from mtlab.interop.weight_names import UNMAPPED, CheckpointLayout, weight_mappings
from mtlab.tasks.build import build
from mtlab.towers.build import build_tower, tower_shape
from mtlab.training.optimisation.official_grouping import is_decayed, official_part
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.optimisation.schedule import learning_rate_factor

# The published code's tests, on published names.
NO_DECAY = [
    "bias",
    "LayerNorm.bias",
    "LayerNorm.weight",
    "norm.bias",
    "norm.weight",
    "norm1.bias",
    "norm1.weight",
    "norm2.bias",
    "norm2.weight",
]
HEADS = ["vqa_classifier", "nlvr2_classifier", "snli_classifier", "mlm_score", "itm_score"]

CLASSIFIER = ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias")
MLM = ("bias", "transform.dense.weight", "transform.dense.bias", "transform.LayerNorm.weight")
PRETRAINING = {
    "mlm": (*(f"mlm_score.{name}" for name in (*MLM, "transform.LayerNorm.bias", "decoder.weight")),),
    "itm": ("itm_score.fc.weight", "itm_score.fc.bias"),
    "itc": tuple(f"cross_modal_itc_{m}_head.fc.{p}" for m in ("text", "image") for p in ("weight", "bias")),
}
LAYOUTS = {
    "meter": CheckpointLayout("meter", 12, 11, 6, heads=PRETRAINING, dead=frozenset({"temperature"})),
    "meter with its gate": CheckpointLayout("meter", 12, 12, 6, gate=True),
    "bridgetower": CheckpointLayout("bridgetower", 12, 12, 6, heads=PRETRAINING, dead=frozenset({"temperature"})),
    "static": CheckpointLayout("managertower", 12, 12, 6, experts=(6, 6), heads=PRETRAINING),
    "adaptive": CheckpointLayout("managertower", 12, 12, 6, experts=(6, 5), adaptive=True, heads=PRETRAINING),
}
for head, task in (("vqa", "question_answering"), ("nlvr2", "reasoning"), ("snli", "entailment")):
    names = tuple(f"{head}_classifier.{name}" for name in CLASSIFIER)
    LAYOUTS[task] = CheckpointLayout(
        "managertower", 12, 12, 6, experts=(6, 6), adaptive=True, type_rows=3, heads={head: names}
    )


def published_group(name: str) -> tuple[str, bool]:
    where = "head" if any(head in name for head in HEADS) else "cross-modal" if "cross_modal" in name else "rest"
    return where, not any(spared in name for spared in NO_DECAY)


def correspondences(case: str) -> list[tuple[str, str]]:
    """Pairs of a published name and ours, of the live parameters."""
    task = case if case in ("question_answering", "reasoning", "entailment") else "pretraining"
    return [
        (theirs, ours)
        for entry in weight_mappings(LAYOUTS[case], task)
        for theirs in entry.theirs
        for ours in entry.ours
        if not ours.startswith(UNMAPPED)
    ]


@pytest.mark.parametrize("case", LAYOUTS)
def test_every_parameter_is_in_its_published_group(case: str) -> None:
    pairs = correspondences(case)
    assert len(pairs) > 600
    wrong = {
        theirs: ours
        for theirs, ours in pairs
        if (official_part(ours), is_decayed(ours, clip=True)) != published_group(theirs)
    }
    assert wrong == {}


def test_the_groups_are_as_large_as_in_the_released_model() -> None:
    """Counted in the authors' pre-training model (966 names) without its 19 dead weights."""
    heads = {kind: PRETRAINING[kind] for kind in ("mlm", "itm")}
    entries = weight_mappings(
        CheckpointLayout("managertower", 12, 12, 6, experts=(6, 6), adaptive=True, heads=heads), "pretraining"
    )
    found = Counter(published_group(name) for entry in entries for name in entry.theirs)
    assert found == {
        ("rest", True): 160 - 5,
        ("rest", False): 198 - 2,
        ("cross-modal", True): 272 - 12,
        ("cross-modal", False): 328,
        ("head", True): 3,
        ("head", False): 5,
    }


@pytest.mark.parametrize(
    ("name", "where", "decays"),
    [
        ("towers.vision.network.blocks.3.norm1.weight", "rest", True),  # CLIP's ln_1: an accident
        ("towers.vision.network.norm.weight", "rest", True),
        ("towers.vision.network.cls_token", "rest", True),
        ("towers.text.network.embeddings.LayerNorm.weight", "rest", False),
        ("towers.text.network.embeddings.word_embeddings.weight", "rest", True),
        ("encoder.text.embeddings.layer.weight", "rest", True),
        ("encoder.image.embeddings.token_type.weight", "rest", True),
        ("encoder.text.gate.weight", "rest", True),
        ("encoder.text.managers.0.scale", "cross-modal", True),
        ("encoder.text.managers.0.shift", "cross-modal", False),
        ("encoder.text.managers.1.previous_norm.weight", "cross-modal", True),
        ("encoder.text.managers.1.other_norm.weight", "cross-modal", False),
        ("encoder.text.managers.1.score", "cross-modal", True),
        ("encoder.text.managers.1.previous_weight", "cross-modal", True),
        ("encoder.text.managers.1.temperature", "cross-modal", True),
        ("encoder.text.managers.1.norm.weight", "cross-modal", False),  # a bridge's
        ("encoder.image.layers.5.cross_norm.weight", "cross-modal", False),
        ("task.head.1.weight", "head", True),  # the norm inside a classifier: an accident
        ("task.mlm.norm.weight", "head", False),
        ("task.itc.text.weight", "cross-modal", True),
        ("task.itc.temperature", "rest", True),
    ],
)
def test_the_accidents_by_name(name: str, where: str, decays: bool) -> None:
    assert (official_part(name), is_decayed(name, clip=True)) == (where, decays)


def test_norms_of_other_vision_towers_are_spared() -> None:
    assert not is_decayed("towers.vision.network.blocks.3.norm1.weight", clip=False)


def small() -> nn.Module:
    text = {"name": "tiny_text", "depth": 2, "width": 8, "heads": 2, "trainable": True}
    vision = {"name": "tiny_vision", "depth": 2, "width": 8, "heads": 2, "trainable": True}
    config = {
        "manager": {"name": "adaptive"},
        "model": {"width": 8, "heads": 2, "cross_layers": 2},
        "task": {"name": "question_answering"},
    }
    towers = {"text_tower": build_tower("text", text), "vision_tower": build_tower("vision", vision)}
    return build(config, tower_shape("text", text), tower_shape("vision", vision), answers=3, **towers)


def test_the_groups_reach_the_optimiser_with_their_rates() -> None:
    train = TrainConfig(lr=1e-3, lr_head=50.0, lr_cross=5.0, lr_layer_weights=10.0, grouping="official")
    model = small()
    chosen = parameter_groups(model, train, {"text": 1.0, "vision": 1.0})
    listed = [name for group in chosen for name in group.names]
    assert sorted(listed) == sorted(name for name, _ in model.named_parameters())
    scales = {name: group.scale for group in chosen for name in group.names}
    assert scales["encoder.text.managers.0.score"] == 5.0  # with the encoder: no rate of its own
    assert scales["encoder.text.embeddings.layer.weight"] == scales["towers.text.words.weight"] == 1.0
    assert scales["task.head.0.weight"] == 50.0
    optimiser = make_optimiser(model, chosen, train)
    decays = {
        name: held["weight_decay"]
        for held, group in zip(optimiser.param_groups, chosen, strict=True)
        for name in group.names
    }
    assert decays["encoder.text.managers.0.score"] == train.weight_decay
    assert decays["encoder.text.layers.0.self_norm.weight"] == 0.0


def test_the_default_spares_what_the_published_code_decays_by_accident() -> None:
    model = small()
    by_name = {
        name: group
        for group in parameter_groups(model, TrainConfig(), {"text": 1.0, "vision": 1.0})
        for name in group.names
    }
    spared = ("scale", "temperature", "score", "norm", "embeddings")
    assert not any(group.decayed for name, group in by_name.items() if any(word in name for word in spared))


def test_the_published_schedule() -> None:
    """Linear warm-up from zero over ⌊share · steps⌋, then a polynomial to zero."""
    train = TrainConfig(warmup=0.1, warmup_from_zero=True)
    assert [learning_rate_factor(step, 105, train) for step in range(11)] == pytest.approx(
        [step / 10 for step in range(11)]
    )
    assert learning_rate_factor(57, 105, train) == pytest.approx(1 - 47 / 95)
    squared = replace(train, power=2.0, end_lr=0.1)
    assert learning_rate_factor(57, 105, squared) == pytest.approx(0.1 + 0.9 * (1 - 47 / 95) ** 2)
    assert learning_rate_factor(0, 5, TrainConfig(warmup=0.1, warmup_from_zero=True)) == 1.0  # too short for a warm-up


def test_a_power_of_a_cosine_is_refused() -> None:
    with pytest.raises(UserError, match="belongs to `decay: linear`"):
        check_config(TrainConfig, {"decay": "cosine", "power": 2.0})


def test_torch_and_the_removed_adamw_of_transformers_differ_by_less_than_the_decay_of_one_update() -> None:
    """What docs/optimisation.md says: theirs adds eps before bias correction, and decays after the update."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(64, generator=generator, dtype=torch.float64)
    lr, betas, eps, decay = 1e-3, (0.9, 0.98), 1e-8, 0.01
    ours = nn.Parameter(start.clone())
    optimiser = torch.optim.AdamW([ours], lr=lr, betas=betas, eps=eps, weight_decay=decay)
    theirs, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step in range(1, 51):
        gradient = torch.randn(64, generator=generator, dtype=torch.float64)
        ours.grad = gradient.clone()
        optimiser.step()
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        size = lr * (1 - betas[1] ** step) ** 0.5 / (1 - betas[0] ** step)
        theirs = theirs - size * first / (second.sqrt() + eps)
        theirs = theirs - lr * decay * theirs
    assert (ours - theirs).abs().max() < 50 * lr * decay * lr * 10  # steps × decay of an update of at most 10 rates
    assert not torch.equal(ours, theirs)


@pytest.mark.skipif("MTLAB_GOLDEN" not in os.environ, reason="needs the names of the released models: set MTLAB_GOLDEN")
def test_every_name_of_the_released_models() -> None:
    listings = json.loads((Path(os.environ["MTLAB_GOLDEN"]) / "state_dict_keys_base.json").read_text())
    whole = {model: shapes for model, shapes in listings.items() if "pretrain" in model}
    assert len(whole) == 6
    for model, shapes in whole.items():
        entries = weight_mappings(detect_layout({name: tuple(shape) for name, shape in shapes.items()}), "pretraining")
        assert {name for entry in entries for name in entry.theirs} == set(shapes)
        for entry in entries:
            for ours in entry.ours:
                if not ours.startswith(UNMAPPED):
                    expected = {published_group(name) for name in entry.theirs}
                    assert {(official_part(ours), is_decayed(ours, clip=True))} == expected, (model, ours)
