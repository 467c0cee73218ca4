"""Hiding words of texts, to be told from the rest and the picture: masked-language modelling.

What is hidden of a text depends on a seed of its own, never on the batch that it is in. Shapes: B texts, L tokens, n
hidden tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlab.towers.base import Vocabulary

Uniform = NDArray[np.float64]  #: from 0 up to 1

SHOWN_AS_MASK, SHOWN_AS_OTHER = 0.8, 0.9  #: shares: hidden behind the mask token, behind it or any word; the rest stays


@dataclass(frozen=True)
class MaskedTexts:
    """Texts some of whose tokens are hidden."""

    words: tuple[Tensor, ...]  #: what the tower takes: ids with hidden ones replaced, and mask, both [B, L]
    places: Tensor  #: of the hidden tokens, counted through the whole batch row by row, int64 [n]
    right: Tensor  #: the ids that stood there, int64 [n]


@dataclass(frozen=True)
class Masking:
    """How words are hidden: each with the same probability, or whole words up to a share of the text.

    A hidden token becomes the mask token (80 %), any id (10 %), or stays as it is (10 %), as in BERT.

    Args:
        vocabulary: of the text tower.
        share: of a text's tokens that is hidden.
        whole_words: hide all pieces of a word or none: words in random order as long as they fit into the share, one at
            least.

    """

    vocabulary: Vocabulary
    share: float
    whole_words: bool

    def hide(self, words: Sequence[Tensor], seeds: Sequence[int], *, at_least_one: bool) -> MaskedTexts:
        """Hide tokens of prepared texts.

        Args:
            words: ids and mask, both [B, L].
            seeds: one for each text.
            at_least_one: hide a token even of a text that chance spares.

        """
        ids, mask = words
        shown = ids.clone()
        places: list[NDArray[np.int64]] = []
        for row, (text, real, seed) in enumerate(zip(ids.numpy(), mask.numpy(), seeds, strict=True)):
            draws = np.zeros((3, len(text)))
            at = np.flatnonzero(real)  # padding is the batch's: it draws none
            draws[:, at] = uniform(seed, 3 * len(at)).reshape(3, -1)
            hidden = self._chosen(text, real, draws[0], at_least_one=at_least_one)
            behind = np.where(
                draws[1] < SHOWN_AS_MASK, self.vocabulary.mask, (draws[2] * self.vocabulary.size).astype(np.int64)
            )
            replaced = hidden[draws[1][hidden] < SHOWN_AS_OTHER]
            shown[row, replaced] = torch.from_numpy(behind[replaced])
            places.append(row * len(text) + hidden)
        found = torch.from_numpy(np.concatenate(places))
        return MaskedTexts((shown, mask), found, ids.flatten()[found])

    def _chosen(
        self, text: NDArray[np.int64], real: NDArray[np.bool_], draws: Uniform, *, at_least_one: bool
    ) -> NDArray[np.int64]:
        """Choose the tokens of a text that are hidden, by one number between 0 and 1 for each of its places."""
        may = np.flatnonzero(real & ~np.isin(text, list(self.vocabulary.special)))
        if self.whole_words:
            return self._whole_words(text, may, draws)
        hidden = may[draws[may] < self.share]
        if at_least_one and not len(hidden) and len(may):
            return may[[draws[may].argmin()]]
        return hidden

    def _whole_words(self, text: NDArray[np.int64], may: NDArray[np.int64], draws: Uniform) -> NDArray[np.int64]:
        """Take words in random order as long as they fit into the share; the first is taken in any case."""
        words: list[list[int]] = []
        for place in may.tolist():
            if words and int(text[place]) in self.vocabulary.continuing and words[-1][-1] == place - 1:
                words[-1].append(place)
            else:
                words.append([place])
        wanted = max(1, round(len(may) * self.share))
        hidden: list[int] = []
        for word in sorted(words, key=lambda word: draws[word[0]]):
            if not hidden or len(hidden) + len(word) <= wanted:
                hidden += word
        return np.array(sorted(hidden), np.int64)


def uniform(seed: int, count: int) -> Uniform:
    """Draw numbers from 0 up to 1; of raw bits alone, which NumPy keeps from version to version."""
    raw = np.random.PCG64(seed).random_raw(count)
    drawn: Uniform = (raw >> np.uint64(11)) * np.float64(2.0**-53)
    return drawn
