"""One uni-modal layer per cross-modal layer: BridgeTower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.errors import UserError
from mtlab.managers.base import MODALITIES, Aggregated, Experts, Intervention, Manager, Place, register_manager
from mtlab.managers.choice import chosen, take


@register_manager("bridge")
class Bridge(Manager):
    """Each cross-modal layer gets one uni-modal layer by a bridge: LN(u + c), and LN(u) at the first.

    Cross-modal layer ℓ of K takes offered expert max(1, N − K + ℓ), unless `experts` says otherwise. Its output is no
    sum of terms (the norm is outside), so that it records no contributions. Source: BridgeTower (AAAI 2023).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options in the YAML."""

        experts: Any = option(
            None,
            "the offered expert of each cross-modal layer, K numbers (1 lowest, -1 highest), or {text: …, image: …}; "
            "null: the top K in order",
        )

    @classmethod
    def check(cls, config: Config, place: Place) -> None:
        """Refuse a pairing that is not K offered experts."""
        _paired(config.experts, place)

    @classmethod
    def experts_used(cls, config: Config, place: Place) -> Sequence[int]:
        """The one expert of this cross-modal layer."""
        return (_paired(config.experts, place),)

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.expert = _paired(config.experts, place)
        self.norm = nn.LayerNorm(place.width)

    def forward(
        self,
        experts: Experts,
        history: Sequence[Tensor],
        other: Tensor | None,  # noqa: ARG002
        other_mask: Tensor | None = None,  # noqa: ARG002
        *,
        noise: Tensor | None = None,  # noqa: ARG002
        intervene: Intervention | None = None,
        record: bool = False,
    ) -> Aggregated:
        """Aggregate, see `Manager.forward`. Without its expert, a bridge norms the previous state alone."""
        hidden, weights = take(experts, self.expert, intervene)
        if self.place.depth:
            hidden = hidden + history[-1]
            weights = torch.cat([weights, torch.ones_like(weights[:, :1])], 1)
        return Aggregated(self.norm(hidden), weights.detach() if record else None)


def _paired(experts: Any, place: Place) -> int:
    """Say which offered expert the bridge at this place takes, 1-based.

    Raises:
        UserError: `experts` is no list of K offered experts; its key is `experts`.

    """
    if isinstance(experts, Mapping):
        if set(experts) != set(MODALITIES):
            raise UserError(
                f"expected text and image, found {', '.join(map(str, experts)) or 'nothing'}", key="experts"
            )
        return _paired_one(experts[place.modality], place, f"experts.{place.modality}")
    return _paired_one(experts, place, "experts")


def _paired_one(experts: Any, place: Place, key: str) -> int:
    if experts is None:
        return max(1, place.experts - place.layers + place.depth + 1)
    if not isinstance(experts, list | tuple):
        raise UserError(f"expected a list of offered experts, found {experts!r}", key=key)
    if len(experts) != place.layers:
        raise UserError(f"names {len(experts)} experts for {place.layers} cross-modal layers", key=key)
    return chosen(experts[place.depth], place.experts, key)
