"""Running the model on a batch, and one optimiser step over its micro-batches.

Shapes: B examples, A answers, N experts, L tokens, D width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from mtlab.data.batches import Batch
from mtlab.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from mtlab.model.forward import ForwardContext, MicroStep, Runtime
from mtlab.seeding import seed_dropout
from mtlab.tasks.build import TaskModel


def train_step(
    model: TaskModel,
    optimiser: torch.optim.Optimizer,
    micro_batches: Sequence[Batch],
    runtime: Runtime,
    *,
    seed: int,
    step: int,
    clip: float | None,
    watch: Callable[[], None] = lambda: None,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Make one optimiser step; the gradient is that of the mean over all examples, however they are split.

    (Of examples whose losses depend on one another, such as pairs that are contrasted, the split is part of the task.)

    Args:
        model: in training mode.
        optimiser: with this step's learning rates set.
        micro_batches: the step's examples, or this process's share, on the CPU or on the device.
        runtime: where and how precisely.
        seed: the run's.
        step: the optimiser step, from 0.
        clip: largest norm of the gradient; None: as it is.
        watch: called when the gradient is known, before it is clipped.
        group: the processes that make this step together; all end with the same weights.

    Returns:
        The mean loss over the step's examples, a scalar on the device: reading it waits for the device.

    """
    optimiser.zero_grad(set_to_none=True)
    task = model.task
    counted = [task.units(given) for given in micro_batches]
    whole = sum(map(Counter, group.all_gather_objects(counted)), Counter[str]())
    total = torch.zeros((), device=runtime.device)
    for micro, (given, units) in enumerate(zip(micro_batches, counted, strict=True)):
        batch = given.to(runtime.device)
        seed_dropout(seed, step, micro, rank=group.ranks.rank)
        losses = task.losses(ForwardContext(model, runtime, MicroStep(seed, step, micro), group=group), batch)
        if not losses:  # no word happens to be hidden
            continue
        loss = combined(losses, {name: units[name] / whole[name] for name in losses}, task.weights())
        with runtime.attention():
            loss.backward()
        total += loss.detach()
    parameters = [parameter for each in optimiser.param_groups for parameter in each["params"]]
    add_up(group, parameters, total)
    watch()
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(parameters, clip, foreach=True)
    optimiser.step()
    return total


def add_up(group: ProcessGroup, parameters: Sequence[nn.Parameter], total: Tensor) -> None:
    """Add up gradients and loss over all processes, in place; what none of them learns from stays without gradient."""
    learnt = group.all_reduce_any([parameter.grad is not None for parameter in parameters])
    chosen = [parameter for parameter, some in zip(parameters, learnt, strict=True) if some]
    for parameter in chosen:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    group.all_reduce([*(parameter.grad for parameter in chosen if parameter.grad is not None), total])


def combined(losses: Mapping[str, Tensor], shares: Mapping[str, float], weights: Mapping[str, float]) -> Tensor:
    """Sum up losses: each a mean over its share of a step's units, times its weight (1 where none is given)."""
    parts = [loss * (shares[name] * weights.get(name, 1.0)) for name, loss in losses.items()]
    total: Tensor = sum(parts[1:], parts[0])
    return total
