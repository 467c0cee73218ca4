"""The interface of a uni-modal tower: its description, available without weights, and its forward pass.

Shapes: B examples, L tokens, D_n width of level n. Levels are counted from 1 at the bottom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from mtlab.config.options import MAX_SIZE, option
from mtlab.config.registry import Registry
from mtlab.errors import UserError
from mtlab.towers.images import ImagePreprocessing
from mtlab.towers.levels import offered_levels
from mtlab.towers.loading.licences import UNKNOWN, WeightsOrigin

Raw = TypeVar("Raw", str, NDArray[np.uint8])  #: one raw input: a text, or an image as uint8 [H, W, 3]


@dataclass(frozen=True, kw_only=True)
class TowerOptions:
    """Options that every tower has."""

    layers: Any = option("all", "the levels offered to managers: all, topN, or a list, 1 = lowest, -1 = highest")
    trainable: bool = option(False, "fine-tune the tower, or adapters on it; a frozen one can be cached")
    lr_scale: float = option(1.0, "learning-rate multiplier when it is fine-tuned", above=0.0)
    lora_rank: int | None = option(
        None,
        "train low-rank adapters of this rank on its linear maps, and not its own weights; null: no adapters",
        minimum=1,
        maximum=MAX_SIZE,
    )
    lora_alpha: float | None = option(
        None, "scale of the adapters, which is divided by their rank; null: twice the rank", above=0.0
    )
    gate: bool = option(
        False,
        "add to the top offered level a learned, gated sum of those below it, before projection (METER's fusion gate)",
    )

    path_options: ClassVar[tuple[str, ...]] = ()  #: options that may be the path of a file or folder

    def __post_init__(self) -> None:
        for name in self.path_options:  # absolute, so that a run can be gone on with from anywhere
            path = Path(getattr(self, name)).expanduser()
            if getattr(self, name) not in ("pretrained", "random") and path.exists():
                object.__setattr__(self, name, str(path.absolute()))


@dataclass(frozen=True)
class TowerInfo:
    """The description of a tower, available without its weights."""

    depth: int  #: number of levels
    widths: tuple[int, ...]  #: width of each level, lowest first
    tokens: int  #: tokens of an image, or the longest text
    class_token: bool  #: token 0 summarises the whole input
    positions: bool  #: outputs depend on token positions; if not, the encoder adds learned ones
    vocabulary: int | None = None  #: number of a text tower's token ids, which a masked-language head predicts
    mask_token: bool = False  #: a text tower has a mask token
    word_pieces: bool = False  #: its tokeniser marks the tokens that continue a word
    decoder_layers: int = 0  #: of a causal language model, which `model: mllm` runs on image and text; 0: none
    registers: int = 0  #: tokens of an image before its grid, beside a class token


@dataclass(frozen=True)
class TokenGrid:
    """The grid of an image's tokens: row by row from the top left corner, over the whole image."""

    rows: int
    columns: int
    prefix: int = 0  #: tokens before those of the grid: class token, registers


@dataclass(frozen=True)
class TowerShape:
    """The offered levels and their sizes, from which the encoder is built."""

    widths: tuple[int, ...]  #: width of each offered level, lowest first
    levels: tuple[int, ...]  #: the offered levels, 1-based from the bottom, ascending
    depth: int  #: number of levels of the tower
    tokens: int  #: tokens of an image, or the longest text
    class_token: bool  #: token 0 summarises the whole input
    positions: bool  #: outputs depend on token positions; if not, the encoder adds learned ones
    vocabulary: int | None = None  #: number of a text tower's token ids, which a masked-language head predicts
    gate: bool = False  #: the encoder adds a gated sum of the lower levels to the top one
    grid: TokenGrid | None = None  #: of an image's tokens; None: they have no positions in one
    mask_token: bool = False  #: a text tower has a mask token
    word_pieces: bool = False  #: its tokeniser marks the tokens that continue a word
    decoder_layers: int = 0  #: of a causal language model


@dataclass(frozen=True)
class Vocabulary:
    """The token ids of a text tower, as masking needs them."""

    size: int  #: number of ids
    mask: int  #: the mask token
    special: frozenset[int]  #: never masked: class token, separators, padding
    continuing: frozenset[int]  #: continue the word of the token before; empty if the tokeniser does not mark them


@dataclass(frozen=True)
class Features:
    """The output of a tower for a batch: the offered levels, lowest first."""

    levels: tuple[Tensor, ...]  #: each [B, L, D_n]
    mask: Tensor | None = None  #: True at real tokens, [B, L]; None: all are real
    removed: int | None = None  #: an offered level, 1-based, that the encoder does without; see `Experts.without`

    def at(self, rows: Tensor | slice) -> Features:
        """Select some examples by their rows in the batch."""
        levels = tuple(level[rows] for level in self.levels)
        return replace(self, levels=levels, mask=None if self.mask is None else self.mask[rows])


class Tower(nn.Module, Generic[Raw]):
    """A uni-modal tower. Subclasses register as text or vision towers.

    Args:
        config: the checked options, an instance of `Config`.
        weights: load or initialise the weights; False builds the architecture alone, also under `torch.device("meta")`.

    Raises:
        UserError: the weights cannot be found or read, or `layers` names a missing level.

    """

    Config: ClassVar[type[Any]] = TowerOptions
    location_options: ClassVar[frozenset[str]] = frozenset()  #: options that only locate the weights
    cacheable: ClassVar[bool] = True  #: frozen, its levels may come from the expert cache in place of the tower

    def __init__(self, config: Any, *, weights: bool = True) -> None:  # noqa: ARG002 - subclasses read it
        super().__init__()
        self.config = config
        self.info = self.describe(config)
        self.levels = offered_levels(config.layers, self.info.depth)

    @classmethod
    def describe(cls, config: Any) -> TowerInfo:
        """Describe depth, widths and tokens without loading weights.

        Raises:
            UserError: the options contradict each other, or the model cannot be found.

        """
        raise NotImplementedError

    @classmethod
    def digest(cls, config: Any) -> str | None:
        """Hash the weights, for a run's id; None if they are not available yet (a hub, offline)."""
        raise NotImplementedError

    @classmethod
    def origin(cls, config: Any) -> WeightsOrigin | None:
        """Say where the weights come from, and their licence, for model cards; None for random weights of its own."""
        return None if cls.digest(config) in ("", "random") else UNKNOWN

    @classmethod
    def fetch(cls, config: Any) -> None:
        """Download what `digest` and the constructor need from a hub, unless it is on this disk.

        Raises:
            UserError: there is no such model, or the hub cannot be reached in time.

        """

    @classmethod
    def token_strings(cls, config: Any, texts: Sequence[str]) -> list[list[str]] | None:  # noqa: ARG003 - subclasses read them
        """Return the tokens of texts as strings, without padding; None if tokens have no strings.

        Raises:
            UserError: the tokeniser cannot be read.

        """
        return None

    @classmethod
    def grid(cls, config: Any) -> TokenGrid | None:  # noqa: ARG003 - subclasses read it
        """Return the grid of an image's tokens; None if they have no positions in it."""
        return None

    def count_truncated(self, raw: Sequence[Raw]) -> int:  # noqa: ARG002 - subclasses read them
        """Count the texts that `prepare` truncates."""
        return 0

    def preprocessing(self) -> ImagePreprocessing | None:
        """Return the preprocessing of a vision tower; None if it is not resizing and normalising."""
        return None

    def vocabulary(self) -> Vocabulary | None:
        """Describe a text tower's token ids, the first tensor of `prepare`; None if it has no mask token."""
        return None

    def prepare(self, raw: Sequence[Raw]) -> tuple[Tensor, ...]:
        """Convert raw inputs to the tensors of `forward`. Runs in data workers.

        Args:
            raw: B texts, or B images as uint8 [H, W, 3], of any sizes.

        Returns:
            As many tensors as `forward` takes, of B rows each. Of texts mostly the ids, int64 [B, L], and the mask,
            bool [B, L], True at real tokens, with L of the longest text; of images the pixels, float32 [B, 3, S, S].

        """
        raise NotImplementedError

    def dummy_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Return blank inputs of `forward` for counting FLOPs: as of `prepare`, `batch` rows each, at full length."""
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> Features:
        """Run the tower on what `prepare` gives, moved to its device.

        Returns:
            The offered levels, lowest first, [B, L, D_n] each, and the mask of their tokens, [B, L], or None.

        """
        raise NotImplementedError

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass instead of storing them.

        Raises:
            UserError: the tower does not support it.

        """
        raise UserError(f"{type(self).__name__} has no gradient checkpointing")

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode; a frozen tower stays in evaluation mode."""
        return super().train(mode and self.config.trainable)


TEXT_TOWERS: Registry[Tower[Any]] = Registry("text tower", ("mtlab.towers",), "mtlab.text_towers", Tower)
VISION_TOWERS: Registry[Tower[Any]] = Registry("vision tower", ("mtlab.towers",), "mtlab.vision_towers", Tower)
register_text_tower = TEXT_TOWERS.register
register_vision_tower = VISION_TOWERS.register
