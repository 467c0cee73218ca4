"""AdamW over named groups of parameters: what is decayed, and which learning rate each part of the model has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mtlab.config.schema import TrainConfig
from mtlab.model.network import VisionLanguageModel
from mtlab.training.optimisation import official_groups

Sorter = Callable[[str, nn.Module, nn.Parameter], tuple[str, bool]]  #: (name, module, parameter) → (part, decayed?)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are updated alike."""

    part: str  #: encoder, layer weights, head, text tower, vision tower; official: rest, head, cross-modal, the towers
    decayed: bool
    scale: float  #: multiplier of the learning rate
    names: tuple[str, ...]  #: of the parameters, in the model's order


def groups(
    model: VisionLanguageModel, train: TrainConfig, tower_scales: Mapping[str, float]
) -> tuple[ParameterGroup, ...]:
    """Sort the trained parameters of a model into groups.

    With `train.grouping: official` as in the published code, see `mtlab.training.optimisation.official_groups`. Else
    decayed are the weights of linear maps and convolutions alone: biases, norms, scales, temperatures, embeddings and
    the managers' layer weights are not (the published code decays some of them by an accident of names).

    Args:
        model: the whole; frozen parameters are left out.
        train: the multipliers.
        tower_scales: multiplier of each trained tower, "text" and "vision".

    Raises:
        ValueError: a parameter belongs to no known part.

    """
    scales = {"encoder": train.lr_cross, "layer weights": train.lr_layer_weights, "head": train.lr_head}
    scales |= {"rest": 1.0, "cross-modal": train.lr_cross}
    scales |= {f"{kind} tower": scale for kind, scale in tower_scales.items()}
    sort = _official(model) if train.grouping == "official" else _default(model)
    sorted_in: dict[tuple[str, bool], list[str]] = {}
    for name, owner, parameter in _parameters(model):
        if parameter.requires_grad:
            sorted_in.setdefault(sort(name, owner, parameter), []).append(name)
    return tuple(
        ParameterGroup(part, decayed, scales[part], tuple(names)) for (part, decayed), names in sorted_in.items()
    )


def _default(model: VisionLanguageModel) -> Sorter:
    weights = {f"encoder.{name}" for name in model.encoder.layer_weights()}

    def sort(name: str, owner: nn.Module, parameter: nn.Parameter) -> tuple[str, bool]:
        part = "layer weights" if name in weights else _part(name)
        return part, part != "layer weights" and _is_map(name, owner, parameter)

    return sort


def _official(model: VisionLanguageModel) -> Sorter:
    clip = official_groups.is_clip({name for name, _ in model.named_parameters()})

    def sort(name: str, owner: nn.Module, parameter: nn.Parameter) -> tuple[str, bool]:  # noqa: ARG001 - names decide
        part = _part(name)
        return part if part.endswith("tower") else official_groups.part(name), official_groups.decayed(name, clip=clip)

    return sort


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


def set_rate(optimiser: torch.optim.Optimizer, chosen: Sequence[ParameterGroup], rate: float) -> None:
    """Set the learning rate `rate` on every group, times its multiplier."""
    for group, described in zip(optimiser.param_groups, chosen, strict=True):
        group["lr"] = rate * described.scale


def state_tensors(optimiser: torch.optim.Optimizer, chosen: Sequence[ParameterGroup]) -> dict[str, Tensor]:
    """Give the optimiser's state as `kind/parameter name` → tensor; parameters without gradient so far have none."""
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


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                yield f"{prefix}.{name}" if prefix else name, module, parameter


def _part(name: str) -> str:
    first, _, rest = name.partition(".")
    if first == "towers":
        return f"{rest.partition('.')[0]} tower"
    if first in ("encoder", "task"):
        return {"encoder": "encoder", "task": "head"}[first]
    raise ValueError(f"parameter {name!r} belongs to no part of the model")


def _is_map(name: str, owner: nn.Module, parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and name.endswith("weight") and not isinstance(owner, nn.Embedding)


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
