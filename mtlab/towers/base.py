"""The interface of a uni-modal tower: what it offers, known before its weights are loaded, and how it is run.

Shapes: B examples, L tokens, D_n width of level n. Levels are counted from 1 at the bottom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.config.registry import Registry
from mtlab.errors import UserError
from mtlab.towers.images import ImagePreprocessing
from mtlab.towers.levels import offered_levels

Raw = TypeVar("Raw", str, NDArray[np.uint8])  #: one raw input: a text, or an image as uint8 [H, W, 3]


@dataclass(frozen=True, kw_only=True)
class TowerOptions:
    """Options that every tower has."""

    layers: Any = option("all", "the levels offered to managers: all, topN, or a list, 1 = lowest, -1 = highest")
    trainable: bool = option(False, "fine-tune the tower; a frozen one can be cached")
    lr_scale: float = option(1.0, "learning-rate multiplier when it is fine-tuned", above=0.0)
    gate: bool = option(
        False,
        "add to the top offered level a learned, gated sum of those below it, before projection (METER's fusion gate)",
    )


@dataclass(frozen=True)
class TowerInfo:
    """What can be told of a tower without its weights."""

    depth: int  #: levels in all
    widths: tuple[int, ...]  #: width of each level, lowest first
    tokens: int  #: tokens of an image, or the longest text
    class_token: bool  #: is token 0 a summary of the whole?
    positions: bool  #: do its outputs know where a token stands? If not, the encoder adds learned positions
    vocabulary: int | None = None  #: a text tower's token ids lie below it: what a masked-language head predicts
    mask_token: bool = False  #: has a text tower an id that stands for a hidden word?


@dataclass(frozen=True)
class TowerShape:
    """What the encoder must know of a tower to be built: the levels on offer and their sizes."""

    widths: tuple[int, ...]  #: width of each offered level, lowest first
    levels: tuple[int, ...]  #: the offered levels, 1-based from the bottom, ascending
    depth: int  #: levels of the tower in all
    tokens: int  #: tokens of an image, or the longest text
    class_token: bool  #: is token 0 a summary of the whole?
    positions: bool  #: do its outputs know where a token stands? If not, the encoder adds learned positions
    vocabulary: int | None = None  #: a text tower's token ids lie below it: what a masked-language head predicts
    gate: bool = False  #: does the encoder gate the levels below the top one into it?
    mask_token: bool = False  #: has a text tower an id that stands for a hidden word?


@dataclass(frozen=True)
class Vocabulary:
    """What one must know of a text tower's token ids to hide words from it."""

    size: int  #: ids lie below it
    mask: int  #: stands for a hidden token
    special: frozenset[int]  #: are never hidden: class token, separators, padding
    continuing: frozenset[int]  #: go on with the word that the token before belongs to; empty where none tells


@dataclass(frozen=True)
class TokenGrid:
    """How the tokens of an image lie in it: row by row from its top left corner, the whole image evenly divided."""

    rows: int
    columns: int
    prefix: int = 0  #: tokens before those of the grid, that belong to no place: class token, registers


@dataclass(frozen=True)
class Features:
    """What a tower gives for a batch: the offered levels, lowest first."""

    levels: tuple[Tensor, ...]  #: each [B, L, D_n]
    mask: Tensor | None = None  #: True at real tokens, [B, L]; None: all are real

    def at(self, rows: Tensor | slice) -> Features:
        """Take some examples, by their rows in the batch."""
        return Features(tuple(level[rows] for level in self.levels), None if self.mask is None else self.mask[rows])


class Tower(nn.Module, Generic[Raw]):
    """A uni-modal tower. Subclasses register as text or vision towers and say how raw input becomes tensors.

    Args:
        config: the checked options, an instance of `Config`.
        weights: load (or draw) the weights; False gives the architecture alone, also under `torch.device("meta")`.

    Raises:
        UserError: the weights cannot be found or read, or `layers` names a level that the tower lacks.

    """

    Config: ClassVar[type[Any]] = TowerOptions
    location_options: ClassVar[frozenset[str]] = frozenset()  #: options that only say where the digested weights lie

    def __init__(self, config: Any, *, weights: bool = True) -> None:  # noqa: ARG002 - subclasses read it
        super().__init__()
        self.config = config
        self.info = self.describe(config)
        self.levels = offered_levels(config.layers, self.info.depth)

    @classmethod
    def describe(cls, config: Any) -> TowerInfo:
        """Tell depth, widths and tokens without loading weights.

        Raises:
            UserError: the options contradict each other, or the model cannot be found.

        """
        raise NotImplementedError

    @classmethod
    def digest(cls, config: Any) -> str | None:
        """Identify the weights by content: part of a run's id. None where they cannot be had yet (a hub, offline)."""
        raise NotImplementedError

    @classmethod
    def fetch(cls, config: Any) -> None:
        """Download what `digest` and the constructor need, if it comes from a hub and is not on this disk.

        Raises:
            UserError: no such model, or the hub cannot be reached; never a hang.

        """

    @classmethod
    def pieces(cls, config: Any, texts: Sequence[str]) -> list[list[str]] | None:  # noqa: ARG003 - subclasses read them
        """Name the tokens of texts, in order and without padding: words, or pieces of them. None: there are no words.

        Raises:
            UserError: the tokeniser cannot be read.

        """
        return None

    @classmethod
    def grid(cls, config: Any) -> TokenGrid | None:  # noqa: ARG003 - subclasses read it
        """Say how the tokens of an image lie in it. None: they have no place there."""
        return None

    def overlong(self, raw: Sequence[Raw]) -> int:  # noqa: ARG002 - subclasses read them
        """Count the texts that `prepare` cuts; 0 for a tower that takes all as they are."""
        return 0

    def fitting(self) -> ImagePreprocessing | None:
        """Say how a vision tower's `prepare` makes pixels; None: otherwise than by resizing and normalising."""
        return None

    def vocabulary(self) -> Vocabulary | None:
        """Describe a text tower's token ids, the first of what `prepare` gives; None: no word can be hidden from it."""
        return None

    def prepare(self, raw: Sequence[Raw]) -> tuple[Tensor, ...]:
        """Turn raw inputs into the tensors that `forward` takes (token ids and mask; pixels). Runs in data workers."""
        raise NotImplementedError

    def dummy_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Blank inputs for `forward` at full size (the longest text, a whole image): for counting FLOPs."""
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> Features:
        """Run the tower and return the offered levels."""
        raise NotImplementedError

    def recompute(self) -> None:
        """Run the tower's layers anew in the backward pass rather than keep what they computed.

        Raises:
            UserError: it cannot.

        """
        raise UserError(f"{type(self).__name__} keeps its activations: it cannot compute them anew")

    def train(self, mode: bool = True) -> Self:
        """Switch to training; a frozen tower stays in evaluation, whatever the model around it does."""
        return super().train(mode and self.config.trainable)


TEXT_TOWERS: Registry[Tower[Any]] = Registry("text tower", ("mtlab.towers",), "mtlab.text_towers", Tower)
VISION_TOWERS: Registry[Tower[Any]] = Registry("vision tower", ("mtlab.towers",), "mtlab.vision_towers", Tower)
register_text_tower = TEXT_TOWERS.register
register_vision_tower = VISION_TOWERS.register
