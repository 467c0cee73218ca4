"""One optimiser step over its micro-batches."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from mtlab.data.batches import Batch
from mtlab.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from mtlab.distributed.sharding import NOT_SHARDED, Sharding
from mtlab.model.forward import ForwardContext, RandomKey, Runtime
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
    on_gradients: Callable[[], None] | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
    sharding: Sharding = NOT_SHARDED,
) -> Tensor:
    """Make one optimiser step; the gradient is that of the mean over all examples, however they are split.

    (Of examples whose losses depend on one another, such as pairs that are contrasted, the split is part of the task.)
    Managers' auxiliary losses, each a mean over the examples of a micro-batch and weighted by the manager itself, are
    added once for each forward pass of the encoder.

    Args:
        model: in training mode.
        optimiser: with this step's learning rates set.
        micro_batches: the step's examples, or this process's share, on the CPU or on the device.
        runtime: where and how precisely.
        seed: the run's.
        step: the optimiser step, from 0.
        clip: largest norm of the gradient; None: not clipped.
        on_gradients: called when the gradient is known, before it is clipped.
        group: the processes that make this step together; all end with the same weights.
        sharding: the layers of which each holds a part.

    Returns:
        The mean loss over the step's examples, a scalar on the device: reading it waits for the device.

    """
    optimiser.zero_grad(set_to_none=True)
    counts = [model.task.loss_counts(batch) for batch in micro_batches]
    everywhere = group.all_gather_objects(
        [(len(batch), each) for batch, each in zip(micro_batches, counts, strict=True)]
    )
    all_examples = sum(examples for examples, _ in everywhere)
    all_counts = sum((Counter(each) for _, each in everywhere), Counter[str]())
    step_loss = torch.zeros((), device=runtime.device)
    for micro, batch in enumerate(micro_batches):
        seed_dropout(seed, step, micro, rank=group.ranks.rank)
        context = ForwardContext(model, runtime, RandomKey(seed, step, micro), group=group)
        losses = model.task.losses(context, batch.to(runtime.device))
        shares = {name: counts[micro][name] / all_counts[name] for name in losses}
        parts = [combine_losses(losses, shares, model.task.loss_weights())] if losses else []
        if context.auxiliary:
            parts.append(torch.stack(context.auxiliary).sum() * (len(batch) / all_examples))
        if not parts:  # no word happens to be masked
            continue
        loss = functools.reduce(torch.add, parts)
        with runtime.attention_precision():
            loss.backward()
        step_loss += loss.detach()
    parameters = [parameter for each in optimiser.param_groups for parameter in each["params"]]
    sharding.collect_gradients()
    all_reduce_gradients(group, [each for each in parameters if not sharding.is_shard(each)], step_loss)
    if on_gradients is not None:
        on_gradients()
    if clip is not None:
        clip_gradients(parameters, clip, group, sharding)
    optimiser.step()
    return step_loss


def all_reduce_gradients(group: ProcessGroup, parameters: Sequence[nn.Parameter], loss: Tensor) -> None:
    """Sum gradients and loss over all processes, in place; a parameter without gradient in all of them stays so."""
    has_gradient = group.all_reduce_any([parameter.grad is not None for parameter in parameters])
    gradients = []
    for parameter, some in zip(parameters, has_gradient, strict=True):
        if some:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    group.all_reduce([*gradients, loss])


def clip_gradients(
    parameters: Sequence[nn.Parameter], most: float, group: ProcessGroup, sharding: Sharding = NOT_SHARDED
) -> None:
    """Scale all gradients, in place, so that their norm over the whole model is at most `most`."""
    if not sharding:
        torch.nn.utils.clip_grad_norm_(parameters, most, foreach=True)
        return
    own = [each.grad for each in parameters if each.grad is not None and sharding.is_shard(each)]
    shared = [each.grad for each in parameters if each.grad is not None and not sharding.is_shard(each)]
    squared = torch.nn.utils.get_total_norm(own).square()
    group.all_reduce([squared])
    norm = (squared + torch.nn.utils.get_total_norm(shared).square()).sqrt()
    torch.nn.utils.clip_grads_with_norm_(parameters, most, norm, foreach=True)


def combine_losses(losses: Mapping[str, Tensor], shares: Mapping[str, float], weights: Mapping[str, float]) -> Tensor:
    """Sum losses: each a mean over its share of a step's units, times its weight (1 by default)."""
    parts = [loss * (shares[name] * weights.get(name, 1.0)) for name, loss in losses.items()]
    total: Tensor = sum(parts[1:], parts[0])
    return total
