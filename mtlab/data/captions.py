"""Captions as tokens that a language model learns, behind one prompt for all images.

Shapes: A captions, S tokens of the longest and its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from mtlab.towers.causal_lm import CausalLanguageModel, end_each


@dataclass(frozen=True)
class Captions:
    """How the texts of examples are learnt as captions."""

    prompt: str  #: stands in their place behind each image
    tower: CausalLanguageModel
    named_objects: Callable[[str], tuple[str, ...]] | None = None  #: see `Dataset`; None: the data do not know

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """Return the tokens of captions, each with its end and `IGNORE_INDEX` behind it, int64 [A, S]."""
        ids, end = self.tower.encode_answers(captions)
        assert end is not None, "a model whose tokeniser has no end is not built"
        return end_each(ids, end)
