"""Towers that see nothing, for the baselines without the image (text only) or without the text (image only)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlab.towers.base import Features, Raw, Tower, TowerInfo, register_text_tower, register_vision_tower

BLIND = "blind"  #: the name of both towers


class BlindTower(Tower[Raw]):
    """One level of one token, which is the same for every input."""

    @classmethod
    def describe(cls, config: Any) -> TowerInfo:  # noqa: ARG003 - the options do not matter
        """Describe depth, widths and tokens."""
        return TowerInfo(depth=1, widths=(1,), tokens=1, class_token=True, positions=True)

    @classmethod
    def digest(cls, config: Any) -> str:  # noqa: ARG003 - there are no weights
        """Return "": there are no weights."""
        return ""

    def prepare(self, raw: Sequence[Raw]) -> tuple[Tensor, ...]:
        """Any inputs → zeros [B]."""
        return (torch.zeros(len(raw)),)

    def dummy_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Return what `prepare` returns for any inputs."""
        return (torch.zeros(batch),)

    def forward(self, *inputs: Tensor) -> Features:
        """Zeros [B] → one level, [B, 1, 1]."""
        return Features((inputs[0].view(-1, 1, 1),))


@register_text_tower(BLIND)
class BlindText(BlindTower[str]):
    """Sees no text: the baseline of a model that has the image only."""


@register_vision_tower(BLIND)
class BlindVision(BlindTower[NDArray[np.uint8]]):
    """Sees no image: the baseline of a model that has the text only (a blind, or language-only, model)."""
