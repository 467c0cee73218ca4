"""A bundle of a single mechanism: the parameters of the authors' code, its inputs, outputs and gradients.

Layout as of any bundle, with `config.json` naming `source`, `options` and `sizes`. In `io.safetensors`: `in/X`
inputs, `out/Y` outputs, `mid/Z` what lies between, `cot/Y` fixed random tensors, and `grad/param/P`, `grad/in/X`, the
gradients of Σ_Y sum(out/Y ⊙ cot/Y). A prefix, as in `noise/out/Y`, stands for a further case with the same
parameters.

Shapes: B examples, N experts, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mtlab.config.check import check_config
from mtlab.managers.base import MANAGERS, Aggregated, Experts, Inputs, Manager, Place

T = TypeVar("T")
Tensors = Mapping[str, Tensor]
Run = Callable[[Tensors, Tensors], Mapping[str, Tensor]]  #: parameters and inputs (without `in/`) → outputs


class NotExpressible(Exception):  # noqa: N818 - a finding, no error
    """The interface of managers cannot hold a mechanism; the message says in one line what it lacks."""


@dataclass(frozen=True)
class Mechanism:
    """Configuration, parameters, inputs, outputs and gradients of a published mechanism."""

    folder: Path
    config: Mapping[str, Any]
    weights: Tensors
    io: Tensors

    @property
    def options(self) -> Mapping[str, Any]:
        """The authors' options."""
        options: Mapping[str, Any] = self.config["options"]
        return options

    @property
    def source(self) -> str:
        """The authors' repository, commit and file."""
        return str(self.config["source"])


@dataclass(frozen=True)
class Reproduction:
    """How our managers compute what a bundle holds."""

    cases: Mapping[str, Run]  #: prefix of a case, such as "" or "noise/" → how it is computed
    lacking: Mapping[str, str] = field(default_factory=dict)  #: start of a name in io → why no manager gives it


def build(name: str, options: Mapping[str, Any], place: Place) -> Manager:
    """Build a registered manager with sizes that hold for the bundle's place alone, in evaluation mode."""
    entry = MANAGERS.get(name)
    config = check_config(entry.config, options)
    entry.cls.check(config, place)
    return entry.cls(config, place).eval()


def place(
    width: int,
    experts: int,
    depth: int = 0,
    layers: int = 1,
    **geometry: Any,
) -> Place:
    """Return the place of an image's manager; `geometry` as of `Place`."""
    return Place(width, experts, depth, layers, "image", geometry.pop("other_experts", 1), **geometry)


def aggregate(manager: Manager, parameters: Tensors, inputs: Inputs, **options: Any) -> Aggregated:
    """Call a manager with other tensors as its parameters, of any shapes: gradients reach them."""
    result: Aggregated = compute(manager, parameters, lambda built: built(inputs, **options))
    return result


def compute(manager: Manager, parameters: Tensors, function: Callable[[Any], T]) -> T:
    """Apply a function to a manager with other tensors as its parameters.

    Raises:
        KeyError: a parameter of the manager has none, or a tensor is no parameter of it.

    """
    own = {name for name, _ in manager.named_parameters()}
    if own != set(parameters):
        raise KeyError(f"parameters differ: {', '.join(sorted(own ^ set(parameters)))}")
    wrapped = {f"manager.{name}": tensor for name, tensor in parameters.items()}
    result: T = torch.func.functional_call(_Applied(manager), wrapped, (function,))
    return result


class _Applied(nn.Module):
    def __init__(self, manager: Manager) -> None:
        super().__init__()
        self.manager = manager

    def forward(self, function: Callable[[Manager], T]) -> T:
        return function(self.manager)


def single(level: Tensor) -> Experts:
    """Return one level [B, L, D] as experts [B, 1, L, D]."""
    return Experts(level.unsqueeze(1))


def linear(parameters: Tensors, theirs: str, ours: str) -> dict[str, Tensor]:
    """Rename weight and bias of a linear map or a norm."""
    return {f"{ours}.{kind}": parameters[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
