"""Small random towers for tests and first steps: no files, milliseconds per batch.

Shapes: B examples, L tokens, D width.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.config.options import MAX_IMAGE_SIZE, MAX_SEED, MAX_SIZE, option
from mtlab.errors import UserError
from mtlab.towers.base import (
    Features,
    TokenGrid,
    Tower,
    TowerInfo,
    TowerOptions,
    Vocabulary,
    register_text_tower,
    register_vision_tower,
)
from mtlab.towers.images import ImagePreprocessing
from mtlab.towers.loading.weights import seeded_init

PAD, START, FIRST_WORD = 0, 1, 2  #: token ids


@dataclass(frozen=True, kw_only=True)
class TinyOptions(TowerOptions):
    """Options that both tiny towers have."""

    depth: int = option(4, "levels", minimum=1, maximum=256)
    width: int = option(32, "width of every level", minimum=1, maximum=MAX_SIZE)
    heads: int = option(4, "attention heads; must divide the width", minimum=1)
    seed: int = option(0, "seed of the random weights", minimum=0, maximum=MAX_SEED)

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(f"{self.heads} heads do not divide the width {self.width}", key="heads")


class TransformerBlock(nn.Module):
    """A post-norm transformer layer without dropout."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norm2 = nn.LayerNorm(width)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, L, D] → [B, L, D]; tokens attend where `mask`, [B, L], is True."""
        query, key, value = self.qkv(hidden).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attn_mask = None if mask is None else mask[:, None, None, :]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask).transpose(1, 2).flatten(2)
        hidden = self.norm1(hidden + self.out(attended))
        result: Tensor = self.norm2(hidden + self.mlp(hidden))
        return result


def run_blocks(blocks: nn.ModuleList, hidden: Tensor, mask: Tensor | None, levels: Sequence[int]) -> tuple[Tensor, ...]:
    """Run the blocks up to the highest level asked for.

    Args:
        blocks: `TransformerBlock`s, lowest first.
        hidden: embeddings, [B, L, D].
        mask: True at real tokens, [B, L]; None: all are.
        levels: those asked for, 1-based, ascending.

    Returns:
        What their blocks give, [B, L, D] each.

    """
    states = []
    for level, block in enumerate(blocks[: max(levels)], 1):
        hidden = block(hidden, mask)
        if level in levels:
            states.append(hidden)
    return tuple(states)


@register_text_tower("tiny_text")
class TinyText(Tower[str]):
    """A small random transformer over hashed words: for tests."""

    @dataclass(frozen=True, kw_only=True)
    class Config(TinyOptions):
        max_length: int = option(32, "longest text, in tokens; longer ones are cut", minimum=2, maximum=MAX_SIZE)
        vocabulary: int = option(512, "rows that words are hashed to", minimum=8, maximum=2**24)

    def __init__(self, config: Config, *, weights: bool = True) -> None:
        super().__init__(config, weights=weights)
        with seeded_init(config.seed):
            self.words = nn.Embedding(config.vocabulary, config.width)
            self.positions = nn.Embedding(config.max_length, config.width)
            self.norm = nn.LayerNorm(config.width)
            self.blocks = nn.ModuleList(TransformerBlock(config.width, config.heads) for _ in range(config.depth))

    @classmethod
    def describe(cls, config: Config) -> TowerInfo:
        """Describe depth, widths and tokens."""
        return TowerInfo(
            depth=config.depth,
            widths=(config.width,) * config.depth,
            tokens=config.max_length,
            class_token=True,
            positions=True,
            vocabulary=config.vocabulary,
            mask_token=True,
        )

    @classmethod
    def digest(cls, config: Any) -> str:  # noqa: ARG003 - the seed is among the options
        """Return "random": the weights follow from the options."""
        return "random"

    @classmethod
    def token_strings(cls, config: Config, texts: Sequence[str]) -> list[list[str]]:
        """Return a start token, then words and punctuation."""
        return [["[START]", *_split_words(text)[: config.max_length - 1]] for text in texts]

    def count_truncated(self, raw: Sequence[str]) -> int:
        """Count the texts with more words and punctuation than fit behind the start token."""
        return sum(len(_split_words(text)) >= self.config.max_length for text in raw)

    def vocabulary(self) -> Vocabulary:
        """Only words are masked; the id of padding, which is never read, is the mask token."""
        return Vocabulary(self.config.vocabulary, PAD, frozenset({PAD, START}), frozenset())

    def prepare(self, raw: Sequence[str]) -> tuple[Tensor, ...]:
        """Texts → ids and mask, both [B, L]: L is the longest text of the batch."""
        ids = [self._ids(text) for text in raw]
        length = max(map(len, ids))
        table = torch.tensor([row + [PAD] * (length - len(row)) for row in ids])
        return table, table != PAD

    def dummy_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Return texts of the greatest length."""
        shape = (batch, self.config.max_length)
        return torch.full(shape, FIRST_WORD), torch.ones(shape, dtype=torch.bool)

    def forward(self, *inputs: Tensor) -> Features:
        """Ids and mask, both [B, L] → offered levels, each [B, L, D]."""
        ids, mask = inputs
        positions = torch.arange(ids.shape[1], device=ids.device)
        hidden = self.norm(self.words(ids) + self.positions(positions))
        return Features(run_blocks(self.blocks, hidden, mask, self.levels), mask)

    def _ids(self, text: str) -> list[int]:
        words = _split_words(text)[: self.config.max_length - 1]
        return [START, *(FIRST_WORD + _hash_word(word) % (self.config.vocabulary - FIRST_WORD) for word in words)]


@register_vision_tower("tiny_vision")
class TinyVision(Tower[NDArray[np.uint8]]):
    """A small random vision transformer: for tests."""

    @dataclass(frozen=True, kw_only=True)
    class Config(TinyOptions):
        image_size: int = option(
            32, "side of the square that images are resized to, pixels", minimum=1, maximum=MAX_IMAGE_SIZE
        )
        patch: int = option(8, "side of a patch, pixels; must divide image_size", minimum=1)

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.image_size % self.patch:
                raise UserError(f"patches of {self.patch} do not divide images of {self.image_size}", key="patch")

    def __init__(self, config: Config, *, weights: bool = True) -> None:
        super().__init__(config, weights=weights)
        with seeded_init(config.seed):
            self.patches = nn.Conv2d(3, config.width, config.patch, config.patch)
            self.summary = nn.Parameter(torch.randn(1, 1, config.width))
            self.positions = nn.Parameter(torch.randn(1, self.info.tokens, config.width))
            self.norm = nn.LayerNorm(config.width)
            self.blocks = nn.ModuleList(TransformerBlock(config.width, config.heads) for _ in range(config.depth))

    @classmethod
    def describe(cls, config: Config) -> TowerInfo:
        """Describe depth, widths and tokens."""
        tokens = 1 + (config.image_size // config.patch) ** 2
        return TowerInfo(config.depth, (config.width,) * config.depth, tokens, True, True)

    @classmethod
    def digest(cls, config: Any) -> str:  # noqa: ARG003 - the seed is among the options
        """Return "random": the weights follow from the options."""
        return "random"

    @classmethod
    def grid(cls, config: Config) -> TokenGrid:
        """Return a grid of patches behind a class token."""
        side = config.image_size // config.patch
        return TokenGrid(side, side, prefix=1)

    def preprocessing(self) -> ImagePreprocessing:
        """Resize to a square."""
        return ImagePreprocessing(self.config.image_size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear")

    def prepare(self, raw: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, ...]:
        """Images → pixels [B, 3, S, S]."""
        return (self.preprocessing().batch(raw),)

    def dummy_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Return blank images."""
        return (torch.zeros(batch, 3, self.config.image_size, self.config.image_size),)

    def forward(self, *inputs: Tensor) -> Features:
        """Pixels [B, 3, S, S] → offered levels, each [B, 1 + patches, D]."""
        patches = self.patches(inputs[0]).flatten(2).transpose(1, 2)
        summary = self.summary.expand(len(patches), -1, -1)
        hidden = self.norm(torch.cat([summary, patches], 1) + self.positions)
        return Features(run_blocks(self.blocks, hidden, None, self.levels))


def _split_words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.lower())


def _hash_word(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
