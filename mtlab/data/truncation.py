"""Counting the texts that the text tower truncates."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch

from mtlab.config.nodes import lookup_options
from mtlab.data.base import DATASETS, SPLITS, Dataset, Split
from mtlab.towers.build import build_tower, tower_digest, tower_shape
from mtlab.towers.loading.disk_cache import load_or_compute

BATCH = 4096  #: texts tokenised at once


def count_truncated_texts(config: Mapping[str, Any], dataset: Dataset) -> dict[Split, int]:
    """Count the texts of each split that the text tower of a resolved configuration truncates: split → texts, if any.

    The result is cached for a tower and a data set: a million texts take about half a minute.
    """
    entry, options = lookup_options(DATASETS, config["data"], "data")
    key = {"text": config["text"], "weights": tower_digest("text", config["text"])}
    key |= {"data": config["data"], "version": entry.version, "digest": entry.cls.digest(options)}
    return dict(load_or_compute("cut-texts", key, lambda: _count(config, dataset)))


def describe_truncation(config: Mapping[str, Any], cut: Mapping[Split, int], sizes: Mapping[Split, int]) -> str | None:
    """Describe how many texts are truncated; None if none is."""
    if not cut:
        return None
    counts = ", ".join(f"{count:,} of {sizes[split]:,} {split} texts" for split, count in cut.items())
    return f"longer than {tower_shape('text', config['text']).tokens} tokens, and cut: {counts}"


def _count(config: Mapping[str, Any], dataset: Dataset) -> dict[Split, int]:
    with torch.device("meta"):  # the tokeniser alone is needed
        tower = build_tower("text", config["text"], weights=False)
    counts: dict[Split, int] = {}
    for split in SPLITS:
        texts = iter(dataset.texts(split))
        count = 0
        while batch := list(islice(texts, BATCH)):
            count += tower.count_truncated(batch)
        if count:
            counts[split] = count
    return counts
