"""What bridges share: one uni-modal layer per cross-modal layer, joined with the previous state under a LayerNorm.

Shapes: B examples, L own tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.errors import UserError
from mtlab.managers.base import MODALITIES, Place
from mtlab.managers.choice import OneExpert, chosen


class Pairing(OneExpert):
    """LN(join(u, c)), u the expert paired with this cross-modal layer and c the previous state; LN(u) at the first.

    Cross-modal layer ℓ of K takes offered expert max(1, N − K + ℓ), unless `experts` says otherwise. A subclass gives
    `join`, and makes its own parameters where `place.depth` is not 0: at the first layer nothing is joined. Bridges
    record no contributions: their norm is around the sum, or they have no sum. Source: BridgeTower (AAAI 2023).
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
    def taken(cls, config: Config, place: Place) -> int:
        """The expert paired with this cross-modal layer."""
        return paired(config.experts, place)

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        self.norm = nn.LayerNorm(place.width)

    def join(self, expert: Tensor, previous: Tensor, mask: Tensor | None) -> Tensor:
        """Join expert and previous state, each [B, L, D], before the norm; `mask` [B, L] is True at real tokens."""
        raise NotImplementedError

    def joined(self, expert: Tensor | None, previous: Tensor | None, mask: Tensor | None) -> Tensor:
        """Join and norm, [B, L, D]."""
        assert expert is not None
        hidden: Tensor = self.norm(expert if previous is None else self.join(expert, previous, mask))
        return hidden


def paired(experts: Any, place: Place) -> int:
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
        return in_order(place)
    if not isinstance(experts, list | tuple):
        raise UserError(f"expected a list of offered experts, found {experts!r}", key=key)
    if len(experts) != place.layers:
        raise UserError(f"names {len(experts)} experts for {place.layers} cross-modal layers", key=key)
    return chosen(experts[place.depth], place.experts, key)


def in_order(place: Place) -> int:
    """Pair the top K experts with the K cross-modal layers in order, 1-based: max(1, N − K + ℓ)."""
    return max(1, place.experts - place.layers + place.depth + 1)
