from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_runs import tiny_config

from mtlab.data.batches import Batch, Loader
from mtlab.training.assemble import AssembledRun, assemble
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.steps import train_step


def assembled(**sections: Any) -> AssembledRun:
    return assemble(tiny_config(**sections), seed=0)


def first_step(loader: Loader, micro: int) -> tuple[Batch, ...]:
    return next(loader.steps(0, 16, micro))


def gradients(run: AssembledRun, micro: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Take one step and give the loss and the gradients that it used."""
    run.model.train()
    optimiser = make_optimiser(run.model, parameter_groups(run.model, run.train, {}), run.train)
    batches = first_step(run.loader("train"), micro)
    loss = train_step(run.model, optimiser, batches, run.runtime, seed=0, step=0, clip=None)
    found = {name: p.grad.clone() for name, p in run.model.named_parameters() if p.grad is not None}
    return loss.item(), found


@pytest.mark.parametrize("micro", [8, 4, 1])
def test_accumulated_gradients_are_those_of_the_whole_batch(micro: int) -> None:
    quiet = {"manager": {"noise": 0.0}, "model": {"dropout": 0.0}}
    loss, whole = gradients(assembled(**quiet), 16)
    split_loss, split = gradients(assembled(**quiet), micro)
    assert split_loss == pytest.approx(loss, rel=1e-6)
    assert split.keys() == whole.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(split[name], gradient, rtol=1e-4, atol=1e-7, msg=name)


def test_uneven_micro_batches_weigh_by_their_examples() -> None:
    quiet = assembled(manager={"noise": 0.0}, model={"dropout": 0.0})
    _, whole = gradients(quiet, 16)
    again = assembled(manager={"noise": 0.0}, model={"dropout": 0.0})
    again.model.train()
    optimiser = make_optimiser(again.model, parameter_groups(again.model, again.train, {}), again.train)
    rows = first_step(again.loader("train"), 16)[0].rows
    uneven = [again.loader("train").batch(rows[:11]), again.loader("train").batch(rows[11:])]
    train_step(again.model, optimiser, uneven, again.runtime, seed=0, step=0, clip=None)
    name = "task.head.0.weight"
    torch.testing.assert_close(dict(again.model.named_parameters())[name].grad, whole[name], rtol=1e-4, atol=1e-7)


def test_noise_and_dropout_depend_on_seed_step_and_micro_batch() -> None:
    def loss(seed: int, step: int) -> float:
        run = assembled()
        run.model.train()
        optimiser = make_optimiser(run.model, parameter_groups(run.model, run.train, {}), run.train)
        batches = first_step(run.loader("train"), 8)
        torch.manual_seed(torch.seed())
        return train_step(run.model, optimiser, batches, run.runtime, seed=seed, step=step, clip=None).item()

    assert loss(0, 0) == loss(0, 0)
    assert len({loss(0, 0), loss(0, 1), loss(1, 0)}) == 3


def test_clipping_bounds_the_gradient() -> None:
    run = assembled()
    run.model.train()
    optimiser = make_optimiser(run.model, parameter_groups(run.model, run.train, {}), run.train)
    train_step(run.model, optimiser, first_step(run.loader("train"), 16), run.runtime, seed=0, step=0, clip=1e-3)
    total = torch.stack([p.grad.norm() for p in run.model.parameters() if p.grad is not None]).norm()
    assert total.item() == pytest.approx(1e-3, rel=1e-3)


def test_bf16_computes_roughly_the_same_in_less_precision() -> None:
    run = assembled(model={"dropout": 0.0}, manager={"noise": 0.0})
    loss, _ = gradients(run, 16)
    half = assembled(model={"dropout": 0.0}, manager={"noise": 0.0})
    half = replace(half, runtime=replace(half.runtime, precision="bf16"))
    half_loss, found = gradients(half, 16)
    assert half_loss == pytest.approx(loss, rel=2e-2)
    assert half_loss != loss
    assert all(gradient.dtype == torch.float32 for gradient in found.values())


def test_a_trained_tower_is_trained_and_a_frozen_one_is_not() -> None:
    run = assembled(text={"trainable": True, "lr_scale": 0.5}, cache={"enabled": False})
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run.model.train()
    chosen = parameter_groups(run.model, run.train, run.tower_scales)
    optimiser = make_optimiser(run.model, chosen, run.train)
    train_step(run.model, optimiser, first_step(run.loader("train"), 16), run.runtime, seed=0, step=0, clip=1.0)
    changed = {name for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}
    assert any(name.startswith("towers.text.blocks") for name in changed)
    assert not any(name.startswith("towers.vision") for name in changed)
