"""Stages of a language model that reads images: projector and managers first, then everything, each at its own rate."""

from pathlib import Path
from typing import Any

import torch
from tiny_mllm import tiny_language_model
from tiny_runs import RunMaker, lines, tiny_config, train

from mtlab.config.check import check_config
from mtlab.config.schema import TrainConfig
from mtlab.runs import checkpoints
from mtlab.studies.budget.flops import count_cost
from mtlab.studies.budget.study_budget import sharding_remark
from mtlab.training.assemble import assemble
from mtlab.training.optimisation.parameter_groups import parameter_groups

WORDS = ["<pad>", "<end>", "Question:", "Answer:", "code", "of", "item", *map(str, range(30)), "?"]


def sections(folder: Path, **changed: Any) -> dict[str, Any]:
    text = {"name": "causal_lm", "model": str(tiny_language_model(folder, WORDS))}
    model = {"name": "mllm", "inject": {"layers": [0, 2]}}
    train = {"length": {"steps": 12}, "eval_every": 6}
    given = {"text": text, "model": model, "manager": {"name": "residual_static"}, "train": train}
    return {name: section | changed.get(name, {}) for name, section in given.items()}


def test_each_part_learns_at_its_own_rate(tmp_path: Path) -> None:
    rates = {"train": {"lr_cross": 5.0, "lr_layer_weights": 7.0}, "model": {"projector_lr_scale": 0.2}}
    config = tiny_config(**sections(tmp_path, text={"trainable": True, "lr_scale": 0.5}, **rates))
    run = assemble(config, 0)
    groups = parameter_groups(run.model, check_config(TrainConfig, config["train"]), run.tower_scales)
    scales = {name: group.scale for group in groups for name in group.names}
    assert {scales[name] for name in scales if name.startswith("encoder.proj")} == {1.0}
    assert scales["encoder.level_embeddings"] == 5.0
    assert {scales[name] for name in scales if ".managers_by_layer." in name} == {7.0}
    assert {scales[name] for name in scales if name.startswith("towers.text")} == {0.5}


def test_everything_goes_on_from_the_projector_and_managers(make_run: RunMaker, tmp_path: Path) -> None:
    first = make_run("first", **sections(tmp_path, text={"trainable": False}))
    assert train(first) == 0
    learnt, _ = checkpoints.load(first / "checkpoints" / "best.safetensors")
    assert {name.partition(".")[0] for name in learnt} == {"encoder"}
    parent = {"cell": "first", "seed": 0}
    second = make_run(
        "second",
        parents=[parent],
        init_from=parent,
        **sections(tmp_path, text={"trainable": True}, train={"lr": 1e-9, "length": {"steps": 2}, "eval_every": 2}),
    )
    assert train(second) == 0
    later, _ = checkpoints.load(second / "checkpoints" / "best.safetensors")
    assert any(name.startswith("towers.text") for name in later)
    assert all(torch.allclose(later[name], learnt[name], atol=1e-5) for name in learnt)
    chosen = [row["val/loss"] for row in lines(first, "val/loss")]
    assert min(abs(lines(second, "val/loss")[-1]["val/loss"] - loss) for loss in chosen) < 1e-4


def test_a_budget_says_when_layers_must_be_shared() -> None:
    assert sharding_remark(80 * 10**9, 80 * 10**9, "a GPU") is None
    assert sharding_remark(200 * 10**9, 80 * 10**9, "a GPU") == (
        "parameters, gradients and moments take 200 GB, a GPU has 80: share the layers with `train.shard: true` and "
        "`resources.processes` 4 or more (docs/mllm.md)"
    )


def test_a_published_model_is_counted_without_its_files() -> None:
    qwen = {"name": "causal_lm", "model": "Qwen/Qwen2-0.5B-Instruct", "trainable": True, "embeddings": True}
    config = tiny_config(text=qwen, model={"name": "mllm", "answers": "generate"}, manager={"name": "last"})
    assert count_cost(config, answers=3).params["text tower"] == 494_032_768  # as its model card's 0.49 B
