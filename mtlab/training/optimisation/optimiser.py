"""AdamW over parameter groups: its state by parameter name, learning rates, norms of gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtlab.config.schema import TrainConfig
from mtlab.training.optimisation.parameter_groups import ParameterGroup


def adamw(model: nn.Module, chosen: Sequence[ParameterGroup], train: TrainConfig) -> torch.optim.AdamW:
    """Make the optimiser; its groups are `chosen`, in this order."""
    named = dict(model.named_parameters())
    return torch.optim.AdamW(
        [
            {
                "params": [named[name] for name in group.names],
                "lr": train.lr * group.scale,
                "weight_decay": train.weight_decay if group.decayed else 0.0,
            }
            for group in chosen
        ],
        betas=train.betas,
        eps=train.eps,
        fused=True,  # one pass over each parameter: at small widths the plain version is a fifth of a step
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, chosen: Sequence[ParameterGroup], rate: float) -> None:
    """Set the learning rate of every group: `rate` times its multiplier."""
    for group, described in zip(optimiser.param_groups, chosen, strict=True):
        group["lr"] = rate * described.scale


def state_tensors(optimiser: torch.optim.Optimizer, chosen: Sequence[ParameterGroup]) -> dict[str, Tensor]:
    """Return the optimiser's state as `kind/parameter name` → tensor; parameters without gradient so far have none."""
    return {
        f"{kind}/{name}": tensor
        for name, parameter in _grouped(optimiser, chosen)
        for kind, tensor in optimiser.state.get(parameter, {}).items()
    }


def load_state(
    optimiser: torch.optim.Optimizer, chosen: Sequence[ParameterGroup], tensors: Mapping[str, Tensor]
) -> None:
    """Restore what `state_tensors` gave.

    Raises:
        KeyError: the state is of another model.

    """
    named = dict(_grouped(optimiser, chosen))
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        optimiser.state[named[name]][kind] = tensor.to(named[name].device)


def _grouped(optimiser: torch.optim.Optimizer, chosen: Sequence[ParameterGroup]) -> Iterator[tuple[str, Tensor]]:
    for group, described in zip(optimiser.param_groups, chosen, strict=True):
        yield from zip(described.names, group["params"], strict=True)


def gradient_norms(groups: Sequence[ParameterGroup], held: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Measure the gradient of each part of the model, `gradient/PART` → a scalar on its device.

    Args:
        groups: the optimiser's.
        held: their parameters, as `optimiser.param_groups`.

    """
    gradients: dict[str, list[Tensor]] = {}
    for group, parameters in zip(groups, held, strict=True):
        found = [each.grad for each in parameters["params"] if each.grad is not None]
        gradients.setdefault(f"gradient/{group.part}", []).extend(found)
    return {name: torch.nn.utils.get_total_norm(found).float() for name, found in gradients.items() if found}
