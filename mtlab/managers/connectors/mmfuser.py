"""The top level asks all others by deformable attention: MMFuser."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.config.options import option
from mtlab.managers.base import (
    Aggregated,
    Inputs,
    Intervention,
    Place,
    check_heads,
    intervention_factors,
    register_manager,
)
from mtlab.managers.connectors.base import Connector

EPS = 1e-6  #: of the LayerNorms


@register_manager("mmfuser", version=2)
class MMFuser(Connector):
    """The top level asks the levels below it by deformable attention, and what it gets is added with weights from zero.

    u_N + γ₁ ⊙ (a + γ₂ ⊙ A₂(LN a, LN a)), a = A₁(LN u_N, LN [u_1 … u_(N−1)]): each token and head reads a few points
    of each level, at learned distances on the grid of tokens, weighed by a softmax over levels and points. γ₁ and γ₂
    start at zero, so that it starts as `last`. In front of the first cross-modal layer; above, the previous state
    passes alone. Tokens before the grid, such as a class token, pass as the top level holds them; texts are grids of
    one row. As weights the shares of the levels in A₁ are recorded, and 1 for the top level. Source: MMFuser (arXiv
    2410.11829); attention as in Deformable DETR (arXiv 2010.04159).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        heads: int = option(4, "attention heads; must divide the width (published: 16)", minimum=1)
        points: int = option(4, "points that a head reads of each level (published: 4)", minimum=1, maximum=1024)

    raw_weights = True
    starts_as_identity = True

    @classmethod
    def check(cls, config: Config, place: Place) -> None:
        """Refuse heads that do not divide the width."""
        check_heads(config.heads, place.width)

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """Heads and points."""
        return {"heads": {"choice": [1, 2, 4, 8]}, "points": {"int": [1, 4]}}

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        if place.depth:
            return
        self.skips = {place.experts: 1.0}
        width, sizes = place.width, (place.width, config.heads)
        self.query_norm = nn.LayerNorm(width, EPS)
        self.level_norm = nn.LayerNorm(width, EPS)
        row = place.grid is None
        self.cross_attention = DeformableAttention(*sizes, max(place.experts - 1, 1), config.points, row=row)
        self.self_norm = nn.LayerNorm(width, EPS)
        self.self_attention = DeformableAttention(*sizes, 1, config.points, row=row)
        self.cross_gate = nn.Parameter(torch.zeros(width))
        self.self_gate = nn.Parameter(torch.zeros(width))
        if config.points == 1:  # one point of one level has all the weight
            single = ["self_attention"] if place.experts > 2 else ["self_attention", "cross_attention"]
            self.inert = frozenset(f"{name}.attention_{kind}" for name in single for kind in ("weight", "bias"))

    @property
    def weighed(self) -> Sequence[int]:
        """The levels below the top one, see `Manager.weighed`."""
        return () if self.place.depth else range(1, self.place.experts)

    def connect(self, inputs: Inputs, *, intervene: Intervention | None, record: bool) -> Aggregated:
        """Ask the lower levels and add what they answer, see `Connector.connect`."""
        levels, mask, grid = inputs.experts.levels, inputs.experts.mask, self.place.grid
        prefix = 0 if grid is None else grid.prefix
        tokens = levels[0].shape[1] - prefix
        size = (1, tokens) if grid is None else (grid.rows, grid.columns)
        if size[0] * size[1] != tokens:  # an image of another size, in a model of transformers
            side = math.isqrt(tokens)
            size = (side, side) if side**2 == tokens else (1, tokens)
        top, lower = levels[-1], levels[:-1] or levels
        on_grid = None if mask is None else mask[:, prefix:]
        query = self.query_norm(top[:, prefix:])
        keys = [self.level_norm(level[:, prefix:]) for level in lower]
        sampled, shares = self.cross_attention.sample(query, keys, size, on_grid)
        weights: Tensor | None = None
        if intervene is not None or record:
            of_grid = torch.stack(shares, 1)  # [B, n, L - prefix, 1]
            # Tokens before the grid ask nothing: theirs are means, which act nowhere and move no mean over tokens.
            rows = torch.cat([of_grid.mean(2, keepdim=True).expand(-1, -1, prefix, -1), of_grid], 2)  # [B, n, L, 1]
            of_top = rows.new_ones(1, 1, 1, 1).expand(len(rows), 1, rows.shape[2], 1)
            weights = torch.cat([rows, of_top], 1) if len(levels) > 1 else of_top
        if intervene is not None and weights is not None:
            given, weights = weights, intervene(weights)
            factors = intervention_factors(given, weights)
            on = [factor[:, -size[0] * size[1] :] if factor.shape[1] > 1 else factor for factor in factors.unbind(1)]
            sampled = [part * factor for part, factor in zip(sampled, on, strict=False)]
            top = top * factors[:, -1]
        answer = self.cross_attention.merge(sampled)
        normed = self.self_norm(answer)
        answer = answer + self.self_gate * self.self_attention(normed, [normed], size, on_grid)
        hidden = top + F.pad(self.cross_gate * answer, (0, 0, prefix, 0))
        return Aggregated(hidden.to(top.dtype), weights.detach() if record and weights is not None else None)


class DeformableAttention(nn.Module):
    """Deformable attention over a grid: each query and head reads a few points of each level, and weighs them.

    A point lies at the query's own place and a learned distance, in tokens; between tokens levels are interpolated
    bilinearly, and outside the grid they are 0. Source: Deformable DETR (arXiv 2010.04159), equation 3.

    Args:
        width: D.
        heads: H; divides D.
        levels: how many are read.
        points: P, of each level.
        row: the grid is one row: heads look left and right alone, as above and below there is nothing to learn from.

    """

    def __init__(self, width: int, heads: int, levels: int, points: int, *, row: bool = False) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        reads = heads * levels * points
        # No `nn.Linear`: these start at zero, whatever the deviation of initial weights, and not at a bias of zero.
        self.offset_weight = nn.Parameter(torch.zeros(2 * reads, width))
        self.offset_bias = nn.Parameter(self._directions(row=row).flatten())
        self.attention_weight = nn.Parameter(torch.zeros(reads, width))
        self.attention_bias = nn.Parameter(torch.zeros(reads))
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def _directions(self, *, row: bool) -> Tensor:
        """Give the first distances: each head looks its own way, point p p tokens far, [H, levels, P, 2]."""
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        ways = torch.stack([angles.cos(), angles.sin()], -1)
        ways = ways / ways.abs().amax(-1, keepdim=True)
        if row:
            ways = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])[torch.arange(self.heads) % 2]
        steps = torch.arange(1.0, self.points + 1).view(1, 1, -1, 1)
        return ways.view(-1, 1, 1, 2) * steps.expand(1, self.levels, -1, 1)

    def forward(self, queries: Tensor, levels: Sequence[Tensor], size: tuple[int, int], mask: Tensor | None) -> Tensor:
        """Attend from the tokens of a grid to levels on the same one.

        Args:
            queries: [B, T, D], row by row.
            levels: [B, T, D] each.
            size: rows and columns of the grid, T in all.
            mask: True at real tokens, [B, T]; None: all are. The values of the others are 0.

        Returns:
            [B, T, D]

        """
        return self.merge(self.sample(queries, levels, size, mask)[0])

    def sample(
        self, queries: Tensor, levels: Sequence[Tensor], size: tuple[int, int], mask: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Give what is read of each level, [B, T, D] each, and its share of the weights, [B, T, 1] each."""
        batch, length, width = queries.shape
        heads, shape = self.heads, (batch, length, self.heads, len(levels), self.points)
        offsets = F.linear(queries, self.offset_weight, self.offset_bias).view(*shape, 2).float()
        logits = F.linear(queries, self.attention_weight, self.attention_bias).view(*shape)
        attention = logits.flatten(-2).softmax(-1).view(shape)
        rows, columns = size
        numbers = torch.arange(length, device=queries.device)
        own = torch.stack([numbers % columns, numbers // columns], -1).view(1, length, 1, 1, 1, 2)
        # `grid_sample` counts from the outer edges of the first and the last token, -1 and 1.
        places = (2 * (own + offsets) + 1) / offsets.new_tensor([columns, rows]) - 1
        sampled, shares = [], []
        for number, level in enumerate(levels):
            value = self.value(level)
            if mask is not None:
                value = value * mask.unsqueeze(-1).to(value)
            image = value.view(batch, rows, columns, heads, -1).permute(0, 3, 4, 1, 2).flatten(0, 1).float()
            at = places[:, :, :, number].transpose(1, 2).flatten(0, 1)  # [B · H, T, P, 2]
            read = F.grid_sample(image, at, align_corners=False)  # [B · H, D / H, T, P]
            weight = attention[:, :, :, number].transpose(1, 2).flatten(0, 1).unsqueeze(1)
            summed = (read.to(weight.dtype) * weight).sum(-1)  # [B · H, D / H, T]
            sampled.append(summed.view(batch, width, length).transpose(1, 2).to(queries.dtype))
            shares.append(attention[:, :, :, number].sum(-1).mean(-1, keepdim=True))
        return sampled, shares

    def merge(self, sampled: Sequence[Tensor]) -> Tensor:
        """Add up what was read of the levels and map it, [B, T, D]."""
        merged: Tensor = self.out(torch.stack(list(sampled)).sum(0))
        return merged
