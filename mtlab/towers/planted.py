"""Towers without weights for the data set `planted`: levels of noise, one of which carries a code.

They are prepared, run and cached like every tower, so that a run on planted experts tests the whole path.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlab.config.options import MAX_SEED, MAX_SIZE, option
from mtlab.errors import UserError
from mtlab.towers.base import Features, Raw, Tower, TowerInfo, TowerOptions, register_text_tower, register_vision_tower
from mtlab.towers.planted_codes import PlantedCode, from_image, from_text

CODES = 256  #: codes that the towers know: as many as the data set can have


class PlantedTower(Tower[Raw]):
    """Levels of standard normal noise; the tokens of one level have their code's direction added.

    Noise depends on the example alone (its number, the modality, `seed`), never on the batch or the offered levels.
    """

    modality: str

    @dataclass(frozen=True, kw_only=True)
    class Config(TowerOptions):
        depth: int = option(6, "levels", minimum=1, maximum=256)
        planted: int = option(3, "the level that carries the code, 1 = lowest", minimum=1)
        width: int = option(32, "width of every level", minimum=1, maximum=MAX_SIZE)
        tokens: int = option(4, "tokens of every level", minimum=1, maximum=MAX_SIZE)
        signal: float = option(1.0, "standard deviation of the code's direction; the noise has 1", minimum=0.0)
        seed: int = option(0, "another seed, other noise and directions", minimum=0, maximum=MAX_SEED)

        def __post_init__(self) -> None:
            if self.planted > self.depth:
                raise UserError(f"level {self.planted} of {self.depth}: plant a level that exists", key="planted")

    @classmethod
    def describe(cls, config: Any) -> TowerInfo:
        """Describe depth, widths and tokens."""
        return TowerInfo(
            depth=config.depth,
            widths=(config.width,) * config.depth,
            tokens=config.tokens,
            class_token=False,
            positions=True,  # positions carry no information here: learned ones would only add noise
        )

    @classmethod
    def digest(cls, config: Any) -> str | None:  # noqa: ARG003 - there are no weights
        """Return "": there are no weights."""
        return ""

    def __init__(self, config: Any, *, weights: bool = True) -> None:
        super().__init__(config, weights=weights)
        directions = torch.empty(CODES, config.width)
        if weights and not directions.is_meta:
            directions = torch.randn(CODES, config.width, generator=_generator(self.modality, config.seed))
        self.register_buffer("directions", directions, persistent=False)
        self.directions: Tensor

    @abstractmethod
    def read(self, raw: Raw) -> PlantedCode:
        """Decode the code and the example's number from a text or an image."""

    def prepare(self, raw: Sequence[Raw]) -> tuple[Tensor, ...]:
        """Texts or images → codes [B] and numbers [B].

        Raises:
            ValueError: a text or image that the data set `planted` did not make.

        """
        codes, items = zip(*(self.read(one) for one in raw), strict=True)
        return torch.tensor(codes), torch.tensor(items)

    def dummy_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Code 0 of item 0."""
        return torch.zeros(batch, dtype=torch.long), torch.zeros(batch, dtype=torch.long)

    def forward(self, *inputs: Tensor) -> Features:
        """Codes [B] and numbers [B] → the offered levels, each [B, L, D]."""
        codes, items = inputs
        states = self._noise(items)  # [B, levels, L, D]
        states[:, self.config.planted - 1] += self.config.signal * self.directions[codes].unsqueeze(1)
        return Features(tuple(states[:, level - 1] for level in self.levels))

    def _noise(self, items: Tensor) -> Tensor:
        config = self.config
        shape = (config.depth, config.tokens, config.width)
        if items.is_meta:  # FLOPs are being counted
            return torch.empty(len(items), *shape, device="meta")
        drawn = [torch.randn(shape, generator=_generator(self.modality, config.seed, item)) for item in items.tolist()]
        return torch.stack(drawn).to(self.directions)


@register_text_tower("planted")
class PlantedText(PlantedTower[str]):
    """Planted levels for the text's code; for the data set `planted`."""

    modality = "text"

    def read(self, raw: str) -> PlantedCode:
        """Decode a text."""
        return from_text(raw)


@register_vision_tower("planted")
class PlantedVision(PlantedTower[NDArray[np.uint8]]):
    """Planted levels for the image's code; for the data set `planted`."""

    modality = "vision"

    def read(self, raw: NDArray[np.uint8]) -> PlantedCode:
        """Decode an image."""
        return from_image(raw)


def _generator(*key: str | int) -> torch.Generator:
    digest = blake2b("/".join(map(str, ("planted", *key))).encode(), digest_size=8).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little") >> 1)
