"""Adapters on towers: what is trained, what is kept, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_study import write_study
from trained_here import run_study

from mtlab.errors import UserError
from mtlab.inference.api import load
from mtlab.interop.export_source import read_source
from mtlab.launch.prepare import plan_study
from mtlab.runs import checkpoints
from mtlab.runs.store import Store
from mtlab.tasks.build import build
from mtlab.towers import lora
from mtlab.towers.base import TowerShape
from mtlab.towers.build import build_tower, tower_node
from mtlab.training.init_from import trained_towers

TEXT = {"name": "tiny_text", "trainable": True, "lora_rank": 2}
TIMM = {"name": "timm", "weights": "random", "blocks": 2, "trainable": True, "lora_rank": 2}
TOWERS = {
    "text": [TEXT, {"name": "minilm", "trainable": True, "lora_rank": 2}],
    "vision": [
        {"name": "dinov2_s", "image_size": 56, "trainable": True, "lora_rank": 2},
        {"name": "clip_vit", "width": 16, "depth": 2, "heads": 2, "trainable": True, "lora_rank": 2},
        TIMM | {"model": "eva02_tiny_patch14_224", "image_size": 28},  # it may read maps past their adapters
        TIMM | {"model": "vit_base_patch16_siglip_224", "image_size": 32, "blocks": None},  # its pooling is not read
    ],
}


@pytest.mark.parametrize(("kind", "node"), [(kind, node) for kind, nodes in TOWERS.items() for node in nodes])
def test_adapters_start_without_effect_and_all_of_them_learn(kind, node):
    adapted = build_tower(kind, node)
    plain = build_tower(kind, node | {"lora_rank": None, "trainable": False})
    raw = ["how many red circles?"] if kind == "text" else [np.full((40, 40, 3), 90, dtype=np.uint8)]
    inputs = plain.prepare(raw)
    adapted.eval()
    for one, other in zip(adapted(*inputs).levels, plain(*inputs).levels, strict=True):
        assert torch.equal(one, other)
    trained = {name: parameter for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(".lora_A." in name or ".lora_B." in name for name in trained)
    sum(level.square().sum() for level in adapted(*inputs).levels).backward()
    up = {name: parameter.grad for name, parameter in trained.items() if ".lora_B." in name}
    assert all(grad is not None and grad.any() for grad in up.values())


def test_merged_weights_give_what_adapters_give():
    adapted, plain = build_tower("text", TEXT).eval(), build_tower("text", {"name": "tiny_text"})
    draw = torch.Generator().manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=draw)
    inputs = plain.prepare(["how many red circles?"])
    expected = adapted(*inputs).levels
    assert not torch.equal(expected[-1], plain(*inputs).levels[-1])
    plain.load_state_dict(lora.merged_tensors(adapted))
    for one, other in zip(plain(*inputs).levels, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def model(seed):
    shape = TowerShape((8,), (1,), 1, 4, class_token=False, positions=True)
    config = {
        "manager": {"name": "last"},
        "model": {"width": 8, "heads": 2, "cross_layers": 1},
        "task": {"name": "question_answering"},
    }
    text = build_tower("text", TEXT | {"width": 8, "layers": "top1"})
    return build(config, shape, shape, answers=2, seed=seed, text_tower=text)


def test_adapters_are_drawn_from_the_seed_and_a_checkpoint_holds_them_alone():
    one, same, other = model(1), model(1), model(2)
    kept = [checkpoints.model_tensors(it) for it in (one, same, other)]
    adapters = {name for name in kept[0] if name.startswith("towers.text.")}
    assert adapters
    assert all(".lora_" in name for name in adapters)
    down = sorted(name for name in adapters if ".lora_A." in name)
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in down)
    assert not any(torch.equal(kept[0][name], kept[2][name]) for name in down)
    with torch.no_grad():
        for name in adapters:
            kept[0][name].normal_()
    checkpoints.restore(other, {name: tensor.clone() for name, tensor in kept[0].items()})
    assert all(torch.equal(kept[0][name], kept[2][name]) for name in adapters)


def test_a_study_counts_adapters_as_what_is_trained(tmp_path: Path) -> None:
    study = write_study(tmp_path, "axes: {text.lora_rank: [null, 2]}\nset: {text.trainable: true}\nseeds: 1")
    plan = plan_study(study, [], plugins=False)
    full, adapted = (cell.cost for cell in plan.cells)
    assert adapted.trained_params < full.trained_params
    assert adapted.params["text tower"] > full.params["text tower"]


LORA = """
set: {text: {trainable: true, lora_rank: 2}}
axes: {manager: [bridge]}
seeds: 1
"""


def test_a_run_trains_adapters_alone_and_is_evaluated_and_exported_whole(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs", create=True)
    run_study(write_study(tmp_path, LORA), store)
    (run,) = store.plan("study")["runs"]
    config, result = store.config(run["id"]), store.result(run["id"])
    assert config is not None
    assert result is not None
    kept, _ = checkpoints.load(store.run(run["id"]) / "checkpoints" / "best.safetensors")
    of_tower = {name: tensor for name, tensor in kept.items() if name.startswith("towers.text.")}
    assert all(".lora_" in name for name in of_tower)
    assert trained_towers(store.run(run["id"]) / "checkpoints" / "best.safetensors") == {"text": 2}
    assert any(tensor.any() for name, tensor in of_tower.items() if ".lora_B." in name), "it has learned"
    loaded = load(store.run(run["id"]))
    again = checkpoints.model_tensors(loaded.network)
    assert all(torch.equal(again[name], tensor) for name, tensor in kept.items())

    exported = read_source(store.run(run["id"])).tensors
    plain = build_tower("text", config["config"]["text"] | {"lora_rank": None, "trainable": False}).state_dict()
    merged = {name.removeprefix("towers.text."): it for name, it in exported.items() if name.startswith("towers.text.")}
    assert {name: it.shape for name, it in merged.items()} == {name: it.shape for name, it in plain.items()}
    assert any(not torch.equal(merged[name], plain[name]) for name in plain)


def test_a_run_goes_on_with_the_adapters_of_its_parent(tmp_path: Path) -> None:
    write_study(tmp_path, LORA, name="parent")
    child = LORA.replace("lora_rank: 2", "lora_rank: 4").replace("set: {", "set: {init_from: {study: parent}, ")
    study = write_study(tmp_path, child)
    with pytest.raises(UserError, match=r"text\.lora_rank 4, its parent 2: set them alike"):
        plan_study(study, [], plugins=False)


@pytest.mark.parametrize(
    ("kind", "node", "problem"),
    [
        ("text", {"name": "tiny_text", "lora_rank": 2}, "text.lora_rank: adapters are trained: set trainable to true"),
        ("text", {"name": "tiny_text", "lora_alpha": 2}, "text.lora_alpha: is the scale of adapters: give lora_rank"),
        (
            "text",
            {"name": "causal_lm", "trainable": True, "lora_rank": 2, "embeddings": True},
            "text.embeddings: adapters leave the embeddings as they are",
        ),
        (
            "vision",
            {"name": "efficientnet_lite0", "trainable": True, "lora_rank": 2},
            "vision.lora_rank: the tower has no linear maps to adapt",
        ),
    ],
)
def test_one_line_for_the_user(kind, node, problem):
    with pytest.raises(UserError) as caught:
        build_tower(kind, node, weights=False)
    assert str(caught.value).startswith(problem)


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(lora, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"text\.lora_rank: needs the package peft: pip install 'mtlab\[lora\]'"):
        tower_node("text", TEXT)
