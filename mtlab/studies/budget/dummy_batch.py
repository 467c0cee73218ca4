"""Dummy batches of a run's true size, for measuring memory and time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from mtlab.data.batches import Batch, MatchingPairs
from mtlab.data.inputs import TowerInputs
from mtlab.data.masking import MaskedTexts
from mtlab.studies.budget.text_length import cut
from mtlab.tasks.base import BatchNeeds
from mtlab.towers.base import Features, Tower
from mtlab.towers.build import TowerKind, tower_shape


def dummy_batch(
    config: Mapping[str, Any],
    needs: BatchNeeds,
    towers: Mapping[TowerKind, Tower[Any]],
    cached: Collection[TowerKind],
    examples: int,
    text_tokens: int | None,
    answers: int,
    images: int,
) -> Batch:
    """Return a batch of zeros with the shapes that training gets; captions are as long as they may be.

    Args:
        config: the run's resolved configuration.
        needs: what the task needs in its batches.
        towers: the towers that run.
        cached: kinds of tower whose levels come from the cache.
        examples: texts.
        text_tokens: of each; None: as many as the tower takes.
        answers: classes of the task's head.
        images: images that a text goes with.

    """

    def inputs(kind: TowerKind, amount: int) -> TowerInputs:
        shape = tower_shape(kind, config[kind])
        length = text_tokens or shape.tokens if kind == "text" else shape.tokens
        if kind in cached:
            mask = torch.ones(amount, length, dtype=torch.bool) if kind == "text" else None
            return Features(tuple(torch.zeros(amount, length, width) for width in shape.widths), mask)
        zeros = towers[kind].dummy_inputs(amount)
        return cut(zeros, length) if kind == "text" else zeros

    masked = matching = None
    if needs.mask_share is not None:
        tokens = text_tokens or tower_shape("text", config["text"]).tokens
        words = cut(towers["text"].dummy_inputs(examples), tokens)
        hidden = torch.arange(0, examples * tokens, max(1, round(1 / needs.mask_share)))
        masked = MaskedTexts(words, hidden, torch.zeros(len(hidden), dtype=torch.long))
    if needs.negatives_in_training:
        wrong, own = -(-examples // 2), torch.arange(examples)
        shown = torch.where(own < wrong, own + examples, own)
        matching = MatchingPairs(inputs("vision", wrong), shown, (own >= wrong).long())
    return Batch(
        rows=tuple(range(examples)),
        text=inputs("text", examples),
        image=inputs("vision", examples * images),
        targets=torch.zeros(examples, answers) if needs.scores else torch.zeros(examples, dtype=torch.long),
        masked=masked,
        matching=matching,
        image_ids=torch.arange(examples) if needs.image_ids else None,
        captions=None
        if needs.caption_prompt is None
        else torch.zeros(examples, config["model"]["answer_tokens"], dtype=torch.long),
    )
