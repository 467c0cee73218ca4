"""Weights of the experts for each word and each patch of some examples, and the model's answers.

Shapes: E examples, R rows (experts, then previous states), L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mtlab.data.base import Example
from mtlab.data.batches import Loader
from mtlab.managers.base import MODALITIES, Modality
from mtlab.recording.probe import RecordedBatch, Recorder, labels, manager_rows, removed
from mtlab.towers.build import token_grid, token_strings

EXAMPLES = 32


def record_tokens(
    recorder: Recorder,
    loader: Loader,
    rows: Sequence[int],
    batch: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """Record some examples of a split, in the order of `rows`; arguments as of `averages`.

    Returns:
        weights/M/d and contributions/M/d, each [E, R, L], 0 at padding, NaN elsewhere in rows of levels that the
        manager is not offered; by_removal/M/d, ones [E, 1], where
        contributions are no terms of a sum; mask/M, bool [E, L], where the modality has one. float32 on the CPU.

    """
    batches = (loader.batch(rows[at : at + batch]) for at in range(0, len(rows), batch))
    parts = [_of_batch(recorder(each.to(device))) for each in batches]
    longest = {name: max(part[name].shape[-1] for part in parts) for name in parts[0]}
    return {
        name: torch.cat([F.pad(part[name], (0, length - part[name].shape[-1])) for part in parts])
        for name, length in longest.items()
    }


def describe_tokens(
    config: Mapping[str, Any],
    levels: Mapping[Modality, Sequence[int]],
    arrays: Mapping[str, Tensor],
    examples: Sequence[Example],
    answers: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """Describe the arrays of `record_tokens`, for the metadata of their file.

    Args:
        config: the run's resolved configuration.
        levels: the offered levels, 1-based.
        arrays: of the examples.
        examples: [E].
        answers: right and given answer of each, in words.

    """
    rowed = {name: held.shape[1] for name, held in arrays.items() if name.startswith(("weights/", "contributions/"))}
    grid = token_grid(config["vision"])
    pieces = _pieces(config, [example.text for example in examples], arrays)
    return {
        "levels": {modality: list(offered) for modality, offered in levels.items()},
        "labels": labels(list(rowed), rowed, levels),
        "examples": [
            {
                "id": example.id,
                "family": example.family,
                "text": example.text,
                "image": example.image,
                "tokens": words,
                "truth": right,
                "prediction": given,
            }
            for example, words, (right, given) in zip(examples, pieces, answers, strict=True)
        ],
        "grid": None if grid is None else asdict(grid),
    }


def _of_batch(recorded: RecordedBatch) -> dict[str, Tensor]:
    arrays = {
        name: torch.where(recorded.real(modality).unsqueeze(1), values, 0.0).float().cpu()
        for name, modality, values in manager_rows(recorded)
    }
    examples = len(next(iter(recorded.managers.values())).hidden) if recorded.managers else 0
    arrays |= {f"by_removal/{modality}/{depth}": torch.ones(examples, 1) for modality, depth in removed(recorded)}
    arrays |= {f"mask/{m}": mask.bool().cpu() for m in MODALITIES if (mask := recorded.masks[m]) is not None}
    return arrays


def _pieces(config: Mapping[str, Any], texts: Sequence[str], arrays: Mapping[str, Tensor]) -> list[list[str]]:
    """Name the real tokens of each text; by their numbers where the tower has no names for them."""
    mask = arrays.get("mask/text")
    whole = next((held.shape[-1] for name, held in arrays.items() if name.split("/")[1:2] == ["text"]), 0)
    lengths = [whole] * len(texts) if mask is None else mask.sum(1).tolist()
    named = token_strings(config["text"], texts) or [[]] * len(texts)
    return [
        words if len(words) == length else [f"token {number}" for number in range(1, length + 1)]
        for words, length in zip(named, lengths, strict=True)
    ]
