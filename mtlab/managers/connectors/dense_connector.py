"""Levels side by side in the channels: Dense Connector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mtlab.config.options import option
from mtlab.errors import UserError
from mtlab.managers.base import Aggregated, Inputs, Intervention, Place, intervention_factors, register_manager
from mtlab.managers.bridges.base import expert_number
from mtlab.managers.connectors.base import Connector, Projector, expert_groups, group_weights


@register_manager("dense_connector")
class DenseConnector(Connector):
    """The top level and others beside it in the channels, brought to the width by a small network.

    P([top ; a ; b]), P two linear maps with a GELU between them, in front of the first cross-modal layer; above, the
    previous state passes alone. `dense`: a and b are the means of the lower and the upper half of all levels;
    `sparse`: single levels, a third and two thirds of the way up. As weight of a level its share of the inputs of P
    is recorded; an intervention scales it. Source: Dense Connector (arXiv 2405.13800), its dense and sparse channel
    integration; sparse token integration changes the number of tokens, which a manager cannot.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        integration: Literal["dense", "sparse"] = option(
            "dense", "what stands beside the top level: means of groups of levels, or single levels"
        )
        groups: Any = option(
            None,
            "the levels beside the top one: lists of offered experts (1 lowest, -1 highest), each averaged, or how "
            "many groups of equal size; null: two, as published; of `dense` alone",
        )
        top: int = option(-1, "the offered expert that counts as the top one")

    @classmethod
    def check(cls, config: Config, place: Place) -> None:
        """Refuse experts that are not offered, and groups beside levels that are chosen already."""
        cls.slots(config, place)

    @classmethod
    def slots(cls, config: Config, place: Place) -> list[list[int]]:
        """Return the experts of each block of D channels, 1-based; those of one block are averaged."""
        top, given = expert_number(config.top, place.experts, "top"), config.groups
        if given is not None and config.integration == "sparse":
            raise UserError("`integration: sparse` chooses the levels itself: write dense, or no groups", key="groups")
        if given is None and config.integration == "sparse":
            given = [[max(1, place.experts * third // 3)] for third in (1, 2)]
        return [[top], *expert_groups(2 if given is None else given, place.experts)]

    @classmethod
    def connected_experts(cls, config: Config, place: Place) -> Sequence[int]:
        """Those of all blocks of channels."""
        return [expert for slot in cls.slots(config, place) for expert in slot]

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        if place.depth:
            return
        slots = self.slots(config, place)
        self.register_buffer("slot_weights", group_weights(slots, place.experts), persistent=False)
        self.projector = Projector(len(slots) * place.width, place.width)

    slot_weights: Tensor

    def connect(self, inputs: Inputs, *, intervene: Intervention | None, record: bool) -> Aggregated:
        """Join the channels and project them, see `Connector.connect`."""
        channels, weights = self.channels(inputs, intervene)
        return Aggregated(self.projector(channels), weights if record else None)

    def channels(self, inputs: Inputs, intervene: Intervention | None = None) -> tuple[Tensor, Tensor]:
        """Give the blocks of channels, [B, L, (1 + G) D], and the levels' shares in them, [B|1, N, 1, 1]."""
        states, slots = inputs.experts.states, self.slot_weights
        shares = slots.mean(0).view(1, -1, 1, 1)
        if intervene is None:
            averaged = torch.einsum("gn,bnld->blgd", slots.to(states.dtype), states)
            return averaged.flatten(2), shares
        changed = intervene(shares)
        scaled = states * intervention_factors(shares, changed)
        averaged = torch.einsum("gn,bnld->blgd", slots.to(states.dtype), scaled)
        return averaged.flatten(2), changed
