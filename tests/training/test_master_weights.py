"""`train.precision: bf16_weights`: what is held in bfloat16, what float32 masters keep, and that runs repeat."""

import gc
import json
import weakref
from typing import Any

import pytest
import torch
from timm.layers import ScaledStdConv2d
from tiny_runs import RunMaker, lines, merged, outcome, stopped_at, tiny_config
from torch import Tensor

from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS
from mtlab.model.forward import ForwardContext
from mtlab.resolution.identity import cell_identity
from mtlab.runs import checkpoints
from mtlab.studies.budget.memory import training_memory
from mtlab.tasks.heads import MatchingHead
from mtlab.training.assemble import AssembledRun, assemble
from mtlab.training.optimisation.master_weights import MasterWeights, hold_weights
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.steps import train_step
from mtlab.training.worker import train

BF16: dict[str, Any] = {"train": {"precision": "bf16_weights"}}
QUIET: dict[str, Any] = {"manager": {"noise": 0.0}, "model": {"dropout": 0.0}}
TRAINED_TEXT: dict[str, Any] = {"text": {"trainable": True, "lr_scale": 0.5}, "cache": {"enabled": False}}
STEP = 2**-8  #: relative distance of neighbours in bfloat16, at most


def assembled(**sections: Any) -> AssembledRun:
    return assemble(tiny_config(**merged(BF16, sections)), seed=0)


def trainer(run: AssembledRun) -> tuple[MasterWeights, torch.optim.Optimizer]:
    run.model.train()
    masters, groups = hold_weights(run.model, run.train), parameter_groups(run.model, run.train, run.tower_scales)
    return masters, masters.follow(make_optimiser(run.model, groups, run.train, masters.of))


def answers(run: AssembledRun) -> Tensor:
    run.model.eval()
    with torch.no_grad():
        return ForwardContext(run.model, run.runtime).answer(run.loader("val").batch(range(8)))


@pytest.mark.parametrize("name", [entry.name for entry in MANAGERS if entry.is_builtin])
def test_a_pass_is_to_the_bit_that_of_autocast_with_the_masters(name: str) -> None:
    run = assembled(manager={"name": name}, **TRAINED_TEXT)
    before = answers(run)
    masters = hold_weights(run.model, run.train)
    assert len(masters.of) > 20
    assert torch.equal(answers(run), before)


def test_so_are_the_logits_of_matching() -> None:
    head = MatchingHead(16)
    pooled = torch.randn(8, 32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = head(pooled)
        MasterWeights().start(head)
        assert torch.equal(head(pooled), before)


def test_so_are_convolutions_that_standardise_their_weights() -> None:
    layer, images = ScaledStdConv2d(3, 8, 3), torch.randn(2, 3, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = layer(images)
        MasterWeights().start(layer)
        assert torch.equal(layer(images), before)


def test_linear_maps_are_held_in_bf16_and_the_rest_is_not() -> None:
    run = assembled(**TRAINED_TEXT)
    trainer(run)
    held = {name for name, p in run.model.named_parameters() if p.dtype == torch.bfloat16}
    assert {"encoder.image.layers.0.feed_forward.widen.weight", "task.head.0.bias"} <= held
    assert any(name.startswith("towers.text.blocks") for name in held)
    rest = {name for name, p in run.model.named_parameters() if p.dtype == torch.float32}
    assert {"encoder.text.managers.1.score", "encoder.image.layers.0.self_norm.weight"} & rest
    assert not any("norm" in name or "projections" in name for name in held)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_updates_below_the_resolution_of_bf16_add_up(optimizer: str) -> None:
    run = assembled(train={"lr": 1e-5, "optimizer": optimizer, "weight_decay": 0.0}, **QUIET)
    masters, optimiser = trainer(run)
    weight = run.model.get_parameter("encoder.image.layers.1.self_attention.out.weight")
    first, start = masters.of[weight].detach().clone(), weight.detach().clone()
    batches = next(run.training.steps(0, 16, 16))
    large = first.abs() > 0.1
    for step in range(1, 101):
        train_step(run.model, optimiser, batches, run.runtime, seed=0, step=0, clip=None)
        if step == 1:
            moved = (masters.of[weight] - first).abs()
            assert (moved[large] > 0).float().mean() > 0.9
            assert (moved[large] < STEP / 4 * first.abs()[large]).all()
            same = (weight[large] == start[large]).float().mean()
            assert same > 0.95, "too little to be seen in bfloat16, but next to where it rounds"
    assert torch.equal(weight, masters.of[weight].bfloat16())
    assert (weight[large] != start[large]).any(), "a hundred of them are seen"


def test_micro_batches_add_up_in_float32() -> None:
    found = []
    for micro in (16, 2):
        run = assembled(**QUIET)
        masters, optimiser = trainer(run)
        batches = next(run.training.steps(0, 16, micro))
        train_step(run.model, optimiser, batches, run.runtime, seed=0, step=0, clip=None)
        assert all(weight.grad is None for weight in masters.of), "a gradient is kept once"
        found.append({name: masters.of.get(p, p).grad for name, p in run.model.named_parameters()})
    whole, split = ([gradient for gradient in each.values() if gradient is not None] for each in found)
    assert {gradient.dtype for gradient in split} == {torch.float32}
    error = torch.nn.utils.get_total_norm([one - other for one, other in zip(whole, split, strict=True)])
    assert error < 0.02 * torch.nn.utils.get_total_norm(whole)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_loss_follows_that_of_fp32(make_run: RunMaker, optimizer: str) -> None:
    curves = []
    for precision in ("fp32", "bf16_weights"):
        settings = {"precision": precision, "optimizer": optimizer, "length": {"steps": 60}, "lr": 3e-3}
        folder = make_run(precision, train=settings, **QUIET)
        assert train(folder) == 0
        curves.append([row[kind] for kind in ("train/loss", "val/loss") for row in lines(folder, kind)])
    full, half = curves
    assert full[2] < 0.7 * full[0], "something is learned"
    assert half == pytest.approx(full, rel=0.02)
    assert half != full


@pytest.mark.parametrize(
    "settings",
    [
        {"train": {"micro_batch": 8, "clip": 0.5}, **TRAINED_TEXT},
        {"train": {"optimizer": "muon"}},
        {"train": {"grouping": "official"}},
    ],
    ids=["micro-batches and a tower", "muon", "official grouping"],
)
def test_an_interrupted_run_resumes_to_the_same_result(make_run: RunMaker, settings: dict[str, Any]) -> None:
    whole, cut = (make_run(name, **merged(BF16, settings)) for name in ("whole", "cut"))
    assert train(whole) == 0
    assert stopped_at(cut, 12) != 0
    held, _ = checkpoints.load(cut / "checkpoints" / "last.safetensors")
    weight = held["model/encoder.image.layers.0.feed_forward.widen.weight"]
    assert not torch.equal(weight, weight.bfloat16().float()), "checkpoints hold the masters"
    assert train(cut) == 0
    assert outcome(cut) == outcome(whole)


def test_the_best_checkpoint_gives_what_validation_saw(make_run: RunMaker) -> None:
    folder = make_run("cell", **BF16)
    assert train(folder) == 0
    tensors, metadata = checkpoints.load(folder / "checkpoints" / "best.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values() if tensor.is_floating_point())
    seen = next(row for row in lines(folder, "val/loss") if row["step"] == metadata["step"])
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert metrics["val/loss"] == seen["val/loss"]
    assert metrics["val/accuracy"] == seen["val/accuracy"] == metadata["value"]
    run = assemble(json.loads((folder / "config.json").read_text())["config"], seed=0)
    checkpoints.restore(run.model, tensors)
    in_float32 = answers(run)
    hold_weights(run.model, run.train)
    assert torch.equal(answers(run), in_float32)


def test_it_is_part_of_the_id_and_counted_in_memory() -> None:
    cells = [tiny_config(train={"precision": precision}) for precision in ("fp32", "bf16", "bf16_weights")]
    assert len({cell_identity(cell).cell for cell in cells}) == 3
    full, _, half = (training_memory(cell, answers=5) for cell in cells)
    assert full.parameters < half.parameters < 1.5 * full.parameters
    assert (half.gradients, half.optimiser) == (full.gradients, full.optimiser)
    assert half.activations < full.activations


def test_it_does_not_go_with_sharded_layers() -> None:
    with pytest.raises(UserError, match=r"^train\.precision: sharded layers hold float32 weights"):
        tiny_config(train={"precision": "bf16_weights", "shard": True})


@pytest.mark.slow
def test_compiled_it_learns_as_well(make_run: RunMaker) -> None:
    losses = []
    for compiled in (False, True):
        settings = merged(QUIET, {"train": {"compile": compiled}, "model": {"cross_layers": 1}})
        folder = make_run(f"compile{compiled}", **merged(BF16, settings))
        assert train(folder) == 0
        losses.append([row["val/loss"] for row in lines(folder, "val/loss")])
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_weights_and_masters_are_freed_with_their_model() -> None:
    run = assembled()
    masters = hold_weights(run.model, run.train)
    weight, master = next(iter(masters.of.items()))
    kept = weakref.ref(weight), weakref.ref(master)
    del run, masters, weight, master
    gc.collect()
    assert [each() for each in kept] == [None, None]
