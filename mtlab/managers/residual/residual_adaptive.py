"""Levels added to the previous state with weights for each token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.attention import fused_attention
from mtlab.config.options import option
from mtlab.managers.base import Inputs, Place, register_manager
from mtlab.managers.residual.base import Residual


@register_manager("residual_adaptive")
class ResidualAdaptive(Residual):
    """The experts are added to the previous state, scored for each token: c + Σ_n s_n · z_n ⊙ u_n, z from zero.

    s = W [r ; c], without softmax and bias, with c a token's previous state and r what the other modality says: its
    last token, its mean, or what the token attends to in it; `own` leaves r out. Source: LLaVA-OV-Manager (arXiv
    2506.11515), `adaptive_zerouni`, `adaptive_{last,average,cross}_zerouni`. The first cross-modal layer is that of
    `residual_static`.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Residual.Config):
        query: Literal["own", "last", "average", "cross"] = option(
            "own",
            "what a token asks with: its own state, or beside it the other modality's last token, its mean, or what it "
            "attends to in it",
        )

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """As `residual_static`, and what asks."""
        return {**super().search_space(), "query": {"choice": ["own", "last", "average", "cross"]}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        if not place.depth:
            return
        width = place.width
        self.controller = nn.Linear(width if config.query == "own" else 2 * width, place.experts, bias=False)
        if config.query == "cross":
            self.query = nn.Linear(width, width)
            self.key = nn.Linear(width, width, bias=False)  # a bias would shift all of a query's logits alike

    def scores(self, inputs: Inputs, own: Tensor, /) -> Tensor:
        """Score the experts by [r ; c]: W₁ r + W₂ c, [B, N, L, 1]."""
        weight = self.controller.weight
        scores = F.linear(own, weight[:, -own.shape[-1] :])
        if self.config.query != "own":
            scores = scores + self._question(inputs, own, weight[:, : own.shape[-1]])
        return scores.transpose(1, 2).unsqueeze(-1)

    def _question(self, inputs: Inputs, own: Tensor, weight: Tensor) -> Tensor:
        """Give W₁ r, [B, L|1, N]. Without the other modality, a language model's text, the own tokens stand for it."""
        other, mask = inputs.other, inputs.other_mask
        if other is None:
            other, mask = own, inputs.experts.mask
        values = F.linear(other, weight)  # r is linear in the other modality's tokens: mapped before they are read
        if self.config.query == "average":
            if mask is None:
                return values.mean(1, keepdim=True)
            real = mask.unsqueeze(-1).to(values)
            return (values * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
        if self.config.query == "last":
            if mask is None:
                return values[:, -1:]
            numbers = torch.arange(mask.shape[1], device=mask.device)
            last = torch.where(mask, numbers, 0).amax(1).view(-1, 1, 1)
            return values.gather(1, last.expand(-1, 1, values.shape[2]))
        key, values = (part.expand(len(own), -1, -1) for part in (self.key(other), values))
        attendable = None if mask is None else mask.unsqueeze(1)
        return fused_attention(self.query(own), key, values, attendable)

    def skipped_flops(self, own: int, other: int) -> int:
        """Count what is avoided as values have N dimensions in place of D, and are mapped before they are read."""
        if not self.place.depth or self.config.query == "own":
            return 0
        width, experts = self.place.width, self.place.experts
        skipped = 2 * width * experts * (own - other)
        return skipped + (2 * own * other * (width - experts) if self.config.query == "cross" else 0)

    def noise_shape(self, batch: int, length: int) -> tuple[int, ...]:
        """Return the shape of the scores times the weights, but for the first cross-modal layer's."""
        if not self.place.depth:
            return super().noise_shape(batch, length)
        return batch, self.place.experts, length, self.place.width
