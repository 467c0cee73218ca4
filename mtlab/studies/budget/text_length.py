"""The real length of texts, on which the cost of a step depends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from mtlab.data.batches import training_rows
from mtlab.disk_cache import load_or_compute
from mtlab.resolution.nodes import node_entry, node_options
from mtlab.tasks.base import lookup_task
from mtlab.towers.build import build_tower, tower_digest, tower_shape

BATCHES = 8  #: whose padded length is averaged
TEXTS = 512  #: used of one batch at most


@dataclass(frozen=True)
class TextLength:
    """The padded length of a batch, that of its longest text."""

    tokens: int
    origin: str  #: how the number was found


def text_length(config: Mapping[str, Any]) -> TextLength:
    """Return the mean padded length of training batches, or the tower's limit where texts or tokeniser are missing.

    Raises:
        UserError: the configuration is wrong; the key says where.

    """
    longest = tower_shape("text", config["text"]).tokens
    data = node_entry("data", config["data"])
    content = data.cls.digest(node_options("data", config["data"])), tower_digest("text", config["text"])
    if content[0] is None:
        return TextLength(longest, "the tower's limit: the data set cannot be read here")
    if content[1] is None:
        return TextLength(longest, "the tower's limit: its tokeniser is not on this disk")
    task, options = lookup_task(config)
    prompt = task.batch_needs(options).caption_prompt
    if prompt is not None:
        return TextLength(_prepared_lengths(config, [[prompt]])[0], "the instruction of captions")
    train = config["train"]
    key = {"text": config["text"], "data": config["data"], "version": (data.version, data.source)}
    key |= {"content": [*content], "batch": train["batch"], "micro": train["micro_batch"]}
    found = load_or_compute("text-length", key, lambda: _measure(config))  # generating a whole world takes seconds
    return TextLength(int(found), f"mean over {BATCHES} training batches")


def _measure(config: Mapping[str, Any]) -> int:
    train = config["train"]
    dataset = node_entry("data", config["data"]).cls(node_options("data", config["data"]))
    examples = dataset.sample("train", BATCHES * train["batch"])
    size = min(train["micro_batch"] or train["batch"], TEXTS)
    batches = islice(training_rows(len(examples), 0, min(train["batch"], len(examples))), BATCHES)
    lengths = _prepared_lengths(config, ([examples[row].text for row in rows[:size]] for rows in batches))
    return round(sum(lengths) / len(lengths))


def _prepared_lengths(config: Mapping[str, Any], batches: Iterable[Sequence[str]]) -> list[int]:
    """Return the padded length of each batch of texts."""
    with torch.device("meta"):
        tower = build_tower("text", config["text"], weights=False)
    prepared = [tower.prepare(texts)[0] for texts in batches]
    return [ids.shape[1] if ids.ndim > 1 else tower.info.tokens for ids in prepared]  # a tower without ids: planted


def cut(inputs: Sequence[Tensor], tokens: int) -> tuple[Tensor, ...]:
    """Cut a text tower's inputs, each [B, L] (or [B], which stays), to so many tokens."""
    return tuple(given[:, :tokens].clone() if given.ndim > 1 else given for given in inputs)
