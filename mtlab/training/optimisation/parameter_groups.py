"""Named groups of parameters: what is decayed, and which learning rate each part of the model has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from mtlab.config.schema import TrainConfig
from mtlab.model.network import VisionLanguageModel
from mtlab.training.optimisation import official_grouping

Sorter = Callable[[str, nn.Module, nn.Parameter], tuple[str, bool]]  #: (name, module, parameter) → (part, decayed?)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are updated alike."""

    #: encoder, projector, layer weights, head, text tower, vision tower; official: rest, head, cross-modal, the towers
    part: str
    decayed: bool
    scale: float  #: multiplier of the learning rate
    names: tuple[str, ...]  #: of the parameters, in the model's order
    by_muon: bool = False  #: matrices that Muon updates, not AdamW


def parameter_groups(
    model: VisionLanguageModel, train: TrainConfig, tower_scales: Mapping[str, float]
) -> tuple[ParameterGroup, ...]:
    """Sort the trained parameters of a model into groups.

    With `train.grouping: official` as in the published code, see `mtlab.training.optimisation.official_grouping`. Else
    decayed are the weights of linear maps and convolutions alone: biases, norms, scales, temperatures, embeddings and
    the managers' layer weights are not (the published code decays some of them by an accident of names). With
    `train.optimizer: muon`, the matrices among the decayed parameters of the encoder are Muon's; they come first.

    Args:
        model: the whole; frozen parameters are left out.
        train: the multipliers.
        tower_scales: multiplier of each trained tower, "text" and "vision".

    Raises:
        ValueError: a parameter belongs to no known part.

    """
    scales = {"encoder": train.lr_cross, "layer weights": train.lr_layer_weights, "head": train.lr_head}
    scales |= {"rest": 1.0, "cross-modal": train.lr_cross}
    scales |= {"projector": train.lr_cross * model.encoder.projector_lr_scale}
    scales |= {f"{kind} tower": scale for kind, scale in tower_scales.items()}
    sort = _official(model) if train.grouping == "official" else _default(model)
    sorted_in: dict[tuple[str, bool, bool], list[str]] = {}
    for name, owner, parameter in _parameters(model):
        if parameter.requires_grad:
            part, decayed = sort(name, owner, parameter)
            matrix = part in ("encoder", "projector") and decayed and parameter.ndim == 2
            by_muon = matrix and train.optimizer == "muon"
            sorted_in.setdefault((part, decayed, by_muon), []).append(name)
    groups = (
        ParameterGroup(part, decayed, scales[part], tuple(names), by_muon)
        for (part, decayed, by_muon), names in sorted_in.items()
    )
    return tuple(sorted(groups, key=lambda group: not group.by_muon))


def _default(model: VisionLanguageModel) -> Sorter:
    weights = {f"encoder.{name}" for name in model.encoder.layer_weight_names()}

    projector = tuple(f"encoder.{name}." for name in model.encoder.projector_modules)

    def sort(name: str, owner: nn.Module, parameter: nn.Parameter) -> tuple[str, bool]:
        part = "layer weights" if name in weights else "projector" if name.startswith(projector) else _part(name)
        return part, part != "layer weights" and _is_map(name, owner, parameter)

    return sort


def _official(model: VisionLanguageModel) -> Sorter:
    clip = official_grouping.is_clip({name for name, _ in model.named_parameters()})

    def sort(name: str, owner: nn.Module, parameter: nn.Parameter) -> tuple[str, bool]:  # noqa: ARG001 - names decide
        part = _part(name)
        return part if part.endswith("tower") else official_grouping.official_part(name), official_grouping.is_decayed(
            name, clip=clip
        )

    return sort


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
