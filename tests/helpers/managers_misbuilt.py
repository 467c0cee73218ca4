"""Managers on trial: typical mistakes of who writes a first one."""

from dataclasses import replace
from typing import Any

import torch
from managers_on_trial import Honest
from torch import nn

from mtlab.managers.base import Aggregated, Inputs, Place


class Hoards(Honest):
    """Keeps a module in a plain list."""

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.maps = [nn.Linear(place.width, place.width)]


class Stays(Honest):
    """Keeps a constant that stays on the CPU."""

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.constant = torch.ones(place.width)

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        return replace(got, hidden=got.hidden * self.constant)


class Batches(Honest):
    """Has a norm over the batch, which tells only in training."""

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.norm = nn.BatchNorm1d(place.width)


class Remembers(Honest):
    """Subtracts a running mean over batches, in training."""

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.register_buffer("mean", torch.zeros(place.width))

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * got.hidden.detach().mean((0, 1))
        return replace(got, hidden=got.hidden - self.mean)


class Fades(Honest):
    """Fades with each batch, by a number that is no buffer."""

    batches = 0

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        self.batches += self.training
        return replace(got, hidden=got.hidden * 0.99**self.batches)


class Unmasks(Honest):
    """Changes the other modality's mask."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        if inputs.other_mask is not None:
            inputs.other_mask.fill_(True)
        return super().forward(inputs, **kwargs)


class Misnames(Honest):
    """Names a parameter that it does not have."""

    layer_weight_names = frozenset({"scores"})


class Spells(Honest):
    """Names a parameter by a word alone."""

    layer_weight_names = "score"  # type: ignore[assignment]


class Counts(Honest):
    """Has an auxiliary loss that is no tensor."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        return replace(super().forward(inputs, **kwargs), auxiliary=0.5)  # type: ignore[arg-type]


#: rule → a manager that breaks it
MISBUILT: list[tuple[str, type[Honest]]] = [
    ("is_built_as_declared", Hoards),
    ("computes_on_one_device", Stays),
    ("examples_do_not_mix", Batches),
    ("examples_do_not_mix", Remembers),
    ("examples_do_not_mix", Fades),
    ("names_its_parameters", Misnames),
    ("names_its_parameters", Spells),
    ("shapes", Counts),
]
