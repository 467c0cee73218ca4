"""Groups of levels weighed by what the other modality says: IGVA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mtlab.attention import Attention
from mtlab.config.options import MAX_SIZE, option
from mtlab.errors import UserError
from mtlab.managers.base import Aggregated, Inputs, Intervention, Place, pool_tokens, register_manager
from mtlab.managers.bridges.base import expert_number
from mtlab.managers.connectors.base import Connector, Projector, expert_groups, group_weights, weigh_levels


@register_manager("igva")
class Igva(Connector):
    """The instruction-guided vision aggregator: the other modality weighs groups of levels, one weight per example.

    Levels are averaged within groups. A sentence vector of the other modality, the mean of its guiding level's tokens
    or its class token, attends over the groups' class tokens (without one: the means of their tokens) through small
    post-norm transformer blocks; a softmax over groups weighs them. The weighted sum stands beside a base level in 2D
    channels, and two linear maps with a GELU between them bring it to D, in front of the first cross-modal layer;
    above, the previous state passes alone. Source: IGVA (arXiv 2501.08443).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        groups: Any = option(
            4, "groups of offered experts, as lists (1 lowest, -1 highest), or how many of equal size (published: 4)"
        )
        base: int = option(-2, "the offered expert beside the sum; of a single one, that (published: -2)")
        guide: int = option(-1, "the other modality's offered level that asks (published: a sentence embedding)")
        weights: Literal["learned", "equal"] = option(
            "learned", "by the other modality, or all groups alike, as in the authors' first stage"
        )
        blocks: int = option(4, "blocks of attention and feed-forward (published: 4)", minimum=1, maximum=256)
        heads: int = option(4, "attention heads; must divide `hidden` (published: 4)", minimum=1)
        hidden: int | None = option(
            None, "width of the blocks; null: that of the model (published: 1024)", minimum=1, maximum=MAX_SIZE
        )
        balance: float = option(
            0.0,
            "weight λ of an auxiliary loss, the mean of Σ p log p with p the softmax of the weights (published: 0.02)",
            minimum=0.0,
            sizing=False,
        )

    @classmethod
    def check(cls, config: Config, place: Place) -> None:
        """Refuse experts that are not offered, and heads that do not divide the width of the blocks."""
        expert_groups(config.groups, place.experts)
        base_expert(config, place)
        expert_number(config.guide, place.other_experts, "guide")
        if (config.hidden or place.width) % config.heads:
            raise UserError(f"{config.heads} heads do not divide {config.hidden or place.width}", key="heads")

    @classmethod
    def connected_experts(cls, config: Config, place: Place) -> Sequence[int]:
        """Those of the groups, and the base."""
        grouped = expert_groups(config.groups, place.experts)
        return [base_expert(config, place), *(expert for group in grouped for expert in group)]

    @classmethod
    def other_experts_used(cls, config: Config, place: Place) -> Sequence[int]:
        """The guide, at the first cross-modal layer."""
        if place.depth or config.weights == "equal":
            return ()
        return (expert_number(config.guide, place.other_experts, "guide"),)

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """How many groups and blocks, which level guides, and the balance."""
        return {
            "groups": {"choice": [2, 3, 4]},
            "blocks": {"int": [1, 4]},
            "guide": {"choice": [1, -1]},
            "balance": {"float": [0.0, 0.1]},
        }

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        if place.depth:
            return
        groups = expert_groups(config.groups, place.experts)
        self.base = base_expert(config, place)
        self.register_buffer("groups", group_weights(groups, place.experts), persistent=False)
        self.projector = Projector(2 * place.width, place.width)
        if config.weights == "equal":
            return
        hidden = config.hidden or place.width
        (self.guide,) = self.other_experts_used(config, place)
        self.sentence = nn.Linear(place.width, hidden)
        self.summary = nn.Linear(place.width, hidden)
        self.blocks = nn.ModuleList(GuidingBlock(hidden, config.heads) for _ in range(config.blocks))
        self.controller = nn.Linear(hidden, len(groups))

    groups: Tensor

    @property
    def weighed(self) -> Sequence[int]:
        """Those of the groups, see `Manager.weighed`: the base stands beside them."""
        if self.place.depth:
            return ()
        return sorted({expert for group in expert_groups(self.config.groups, self.place.experts) for expert in group})

    def connect(self, inputs: Inputs, *, intervene: Intervention | None, record: bool) -> Aggregated:
        """Weigh the groups, and project them beside the base, see `Connector.connect`."""
        joined, weights, auxiliary = self.channels(inputs, intervene)
        return Aggregated(self.projector(joined), weights.detach() if record else None, auxiliary=auxiliary)

    def channels(self, inputs: Inputs, intervene: Intervention | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Give [base ; Σ_k w_k G_k], [B, L, 2D], the levels' weights in it, [B|1, N, 1, 1], and the auxiliary loss."""
        chosen = self.weigh(inputs)  # [B|1, G]
        weights = (chosen @ self.groups.to(chosen.dtype))[:, :, None, None]
        if intervene is not None:
            weights = intervene(weights)
        joined = torch.cat([inputs.experts.levels[self.base - 1], weigh_levels(inputs.experts, weights)], -1)
        return joined, weights, self._balance(chosen)

    def weigh(self, inputs: Inputs) -> Tensor:
        """Weigh the groups, [B|1, G]."""
        if self.config.weights == "equal":
            return self.groups.new_full((1, len(self.groups)), 1 / len(self.groups))
        experts, others, place = inputs.experts, inputs.other_experts, self.place
        assert others is not None
        guide = pool_tokens(others.levels[self.guide - 1], others.mask, class_token=place.other_class_token)
        asking = self.sentence(guide).unsqueeze(1)
        tokens = [pool_tokens(level, experts.mask, class_token=place.class_token) for level in experts.levels]
        summaries = self.summary(torch.einsum("gn,bnd->bgd", self.groups.to(tokens[0].dtype), torch.stack(tokens, 1)))
        for block in self.blocks:
            asking = block(asking, summaries)
        weights: Tensor = self.controller(asking.squeeze(1)).softmax(-1)
        return weights

    def _balance(self, chosen: Tensor) -> Tensor | None:
        if not self.config.balance or self.config.weights == "equal":
            return None
        logs = chosen.log_softmax(-1)
        balance: Tensor = self.config.balance * (logs.exp() * logs).sum(-1).mean()
        return balance


class GuidingBlock(nn.Module):
    """Attention to the groups and a feed-forward map, each followed by its LayerNorm.

    Args:
        width: of all states.
        heads: divides the width.

    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout=0.0)
        self.attention_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, width)
        self.narrow = nn.Linear(width, width)
        self.out_norm = nn.LayerNorm(width)

    def forward(self, asking: Tensor, groups: Tensor) -> Tensor:
        """Attend from [B, 1, width] to [B, G, width]; return [B, 1, width]."""
        attended = self.attention_norm(asking + self.attention(asking, groups, None))
        out: Tensor = self.out_norm(attended + self.narrow(self.widen(attended).relu()))
        return out


def base_expert(config: Igva.Config, place: Place) -> int:
    """Return the expert beside the sum, 1-based."""
    return 1 if place.experts == 1 else expert_number(config.base, place.experts, "base")
