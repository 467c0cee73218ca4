"""Masking tokens of texts for masked-language modelling.

The masked tokens of a text depend on a seed of its own, never on the batch that it is in. Shapes: B texts, L tokens, n
masked tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlab.towers.base import Vocabulary

Uniform = NDArray[np.float64]  #: in [0, 1)

#: cumulative shares of masked tokens that become the mask token, and the mask token or any token; the rest is kept
MASK_SHARE, MASK_OR_RANDOM_SHARE = 0.8, 0.9


@dataclass(frozen=True)
class MaskedTexts:
    """Texts some of whose tokens are masked."""

    inputs: tuple[Tensor, ...]  #: inputs of the tower: ids with masked ones replaced, and attention mask, both [B, L]
    positions: Tensor  #: of the masked tokens in the flattened batch, int64 [n]
    labels: Tensor  #: their original ids, int64 [n]


@dataclass(frozen=True)
class Masking:
    """Masks each token with the same probability, or whole words up to a share of the text.

    A masked token becomes the mask token (80 %), any id (10 %), or stays as it is (10 %), as in BERT.

    Args:
        vocabulary: of the text tower.
        share: of a text's tokens that is masked.
        whole_words: mask all pieces of a word or none: words in random order as long as they fit into the share, one at
            least.

    """

    vocabulary: Vocabulary
    share: float
    whole_words: bool

    def mask(self, tokens: Sequence[Tensor], seeds: Sequence[int], *, at_least_one: bool) -> MaskedTexts:
        """Mask tokens of prepared texts.

        Args:
            tokens: ids and attention mask, both [B, L].
            seeds: one for each text.
            at_least_one: mask one token of a text in which none was drawn.

        """
        ids, attention = tokens
        inputs = ids.clone()
        positions: list[NDArray[np.int64]] = []
        for row, (text, real, seed) in enumerate(zip(ids.numpy(), attention.numpy(), seeds, strict=True)):
            draws = np.zeros((3, len(text)))
            at = np.flatnonzero(real)  # padding depends on the batch: nothing is drawn for it
            draws[:, at] = uniform(seed, 3 * len(at)).reshape(3, -1)
            masked = self._choose(text, real, draws[0], at_least_one=at_least_one)
            replacement = np.where(
                draws[1] < MASK_SHARE, self.vocabulary.mask, (draws[2] * self.vocabulary.size).astype(np.int64)
            )
            replaced = masked[draws[1][masked] < MASK_OR_RANDOM_SHARE]
            inputs[row, replaced] = torch.from_numpy(replacement[replaced])
            positions.append(row * len(text) + masked)
        flat = torch.from_numpy(np.concatenate(positions))
        return MaskedTexts((inputs, attention), flat, ids.flatten()[flat])

    def _choose(
        self, text: NDArray[np.int64], real: NDArray[np.bool_], draws: Uniform, *, at_least_one: bool
    ) -> NDArray[np.int64]:
        """Choose the tokens of a text that are masked, by a draw in [0, 1) for each of its positions."""
        maskable = np.flatnonzero(real & ~np.isin(text, list(self.vocabulary.special)))
        if self.whole_words:
            return self._choose_words(text, maskable, draws)
        masked = maskable[draws[maskable] < self.share]
        if at_least_one and not len(masked) and len(maskable):
            return maskable[[draws[maskable].argmin()]]
        return masked

    def _choose_words(self, text: NDArray[np.int64], maskable: NDArray[np.int64], draws: Uniform) -> NDArray[np.int64]:
        """Choose words in random order as long as they fit into the share; the first is chosen in any case."""
        words: list[list[int]] = []
        for position in maskable.tolist():
            if words and int(text[position]) in self.vocabulary.continuing and words[-1][-1] == position - 1:
                words[-1].append(position)
            else:
                words.append([position])
        count = max(1, round(len(maskable) * self.share))
        masked: list[int] = []
        for word in sorted(words, key=lambda word: draws[word[0]]):
            if not masked or len(masked) + len(word) <= count:
                masked += word
        return np.array(sorted(masked), np.int64)


def uniform(seed: int, count: int) -> Uniform:
    """Draw numbers in [0, 1) from raw bits alone, which NumPy keeps from version to version."""
    raw = np.random.PCG64(seed).random_raw(count)
    draws: Uniform = (raw >> np.uint64(11)) * np.float64(2.0**-53)
    return draws
