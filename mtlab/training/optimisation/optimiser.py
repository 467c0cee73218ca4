"""The optimiser over parameter groups: its state by parameter name, learning rates, norms of gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from mtlab.config.schema import TrainConfig
from mtlab.distributed.sharding import NOT_SHARDED, Sharding
from mtlab.training.optimisation.muon import BatchedMuon
from mtlab.training.optimisation.parameter_groups import ParameterGroup


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for some parameter groups and AdamW for the others, behind one interface.

    Muon's steps are scaled to the size of AdamW's, so that one learning rate serves both.

    Args:
        matrices: groups of matrices, for Muon.
        others: groups for AdamW.
        betas: AdamW's.
        eps: AdamW's.

    Source: Muon: Jordan et al. 2024; the scale of its steps: Liu et al. 2025 (arXiv 2502.16982, eq. 4).

    """

    def __init__(
        self,
        matrices: list[dict[str, Any]],
        others: list[dict[str, Any]],
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        muon = BatchedMuon(matrices)
        adamw = torch.optim.AdamW(others, betas=betas, eps=eps, fused=True)
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        muon.param_groups = self.param_groups[: len(matrices)]  # shared, so that both see a new learning rate
        adamw.param_groups = self.param_groups[len(matrices) :]
        muon.state = adamw.state = self.state
        self.optimisers = (muon, adamw)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for optimiser in self.optimisers:
            optimiser.step(closure)


def make_optimiser(
    model: nn.Module,
    groups: Sequence[ParameterGroup],
    train: TrainConfig,
    updated: Mapping[nn.Parameter, nn.Parameter] = MappingProxyType({}),
) -> torch.optim.Optimizer:
    """Make the optimiser; its parameter groups are `groups`, in this order.

    With `train.optimizer: muon`, Muon updates the groups of matrices, which come first. `updated` are what is updated
    in place of some parameters: this process's shards of them, or their masters (`Sharding.shards`, `MasterWeights`).
    """
    named = {name: updated.get(parameter, parameter) for name, parameter in model.named_parameters()}
    options: list[dict[str, Any]] = [
        {
            "params": [named[name] for name in group.names],
            "lr": train.lr * group.scale,
            "weight_decay": train.weight_decay if group.decayed else 0.0,
        }
        for group in groups
    ]
    matrices = sum(group.by_muon for group in groups)
    if matrices:
        return MuonWithAdamW(options[:matrices], options[matrices:], train.betas, train.eps)
    # One pass over each parameter: at small widths the plain version is a fifth of a step.
    return torch.optim.AdamW(options, betas=train.betas, eps=train.eps, fused=True)


def set_learning_rate(optimiser: torch.optim.Optimizer, groups: Sequence[ParameterGroup], rate: float) -> None:
    """Set the learning rate of every group: `rate` times its multiplier."""
    for param_group, group in zip(optimiser.param_groups, groups, strict=True):
        param_group["lr"] = rate * group.scale


def state_tensors(
    optimiser: torch.optim.Optimizer, groups: Sequence[ParameterGroup], sharding: Sharding = NOT_SHARDED
) -> dict[str, Tensor]:
    """Return the optimiser's state as `kind/parameter name` → tensor; parameters without gradient so far have none.

    What is sharded is joined, of use on the main process: all must call this.
    """
    return {
        f"{kind}/{name}": sharding.gather(parameter, tensor)
        for name, parameter in _named_parameters(optimiser, groups)
        for kind, tensor in optimiser.state.get(parameter, {}).items()
    }


def load_state(
    optimiser: torch.optim.Optimizer,
    groups: Sequence[ParameterGroup],
    tensors: Mapping[str, Tensor],
    sharding: Sharding = NOT_SHARDED,
) -> None:
    """Restore the result of `state_tensors`, each process its part of what is sharded.

    Raises:
        KeyError: the state is of another model.

    """
    named = dict(_named_parameters(optimiser, groups))
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        optimiser.state[named[name]][kind] = sharding.shard(named[name], tensor).to(named[name].device)


def _named_parameters(
    optimiser: torch.optim.Optimizer, groups: Sequence[ParameterGroup]
) -> Iterator[tuple[str, nn.Parameter]]:
    for param_group, group in zip(optimiser.param_groups, groups, strict=True):
        yield from zip(group.names, param_group["params"], strict=True)


def gradient_norms(optimiser: torch.optim.Optimizer, groups: Sequence[ParameterGroup]) -> dict[str, Tensor]:
    """Measure the norm of the gradient of each part of the model, `gradient/PART` → a scalar on its device."""
    gradients: dict[str, list[Tensor]] = {}
    for param_group, group in zip(optimiser.param_groups, groups, strict=True):
        known = [parameter.grad for parameter in param_group["params"] if parameter.grad is not None]
        gradients.setdefault(f"gradient/{group.part}", []).extend(known)
    return {name: torch.nn.utils.get_total_norm(known).float() for name, known in gradients.items() if known}
