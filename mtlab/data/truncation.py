"""Texts that are too long: those that the text tower truncates are counted, longest and shortest caption are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch

from mtlab.config.nodes import lookup_options
from mtlab.data.base import DATASETS, SPLITS, Dataset, Split
from mtlab.data.progress import track
from mtlab.disk_cache import load_or_compute
from mtlab.towers.build import build_tower, tower_digest, tower_node, tower_shape
from mtlab.towers.causal_lm import CausalLanguageModel

BATCH = 4096  #: texts tokenised at once
FEW = 20_000  #: texts, which take a second or two


@dataclass(frozen=True)
class CaptionLengths:
    """How long an instruction and the captions of all splits are; the end of a caption is one of its tokens."""

    prompt_is_cut: bool  #: is the instruction truncated?
    most: int  #: tokens of the longest caption
    longest: str
    fewest: int  #: tokens of the shortest one; 1: its end alone
    shortest: str


def count_truncated_texts(config: Mapping[str, Any], dataset: Dataset) -> dict[Split, int]:
    """Count the texts of each split that the text tower of a resolved configuration truncates: split → texts, if any.

    The result is cached for a tower and a data set: a million texts take about half a minute.
    """
    return dict(load_or_compute("cut-texts", _key(config), lambda: _count(config, dataset)))


def describe_truncation(config: Mapping[str, Any], cut: Mapping[Split, int], sizes: Mapping[Split, int]) -> str | None:
    """Describe how many texts are truncated; None if none is."""
    if not cut:
        return None
    counts = ", ".join(f"{count:,} of {sizes[split]:,} {split} texts" for split, count in cut.items())
    return f"longer than {tower_shape('text', config['text']).tokens} tokens, and cut: {counts}"


def measure_captions(config: Mapping[str, Any], dataset: Dataset, prompt: str) -> CaptionLengths:
    """Measure captions for a language model, the text tower, whose tokeniser is on this disk; cached alike."""

    def measure() -> dict[str, Any]:
        with torch.device("meta"):  # the tokeniser alone is needed
            tower = build_tower("text", config["text"], weights=False)
        assert isinstance(tower, CausalLanguageModel), "a plan refuses others"
        texts = (text for split in SPLITS for text in dataset.texts(split))
        shown = track(texts, "measuring captions", sum(dataset.sizes(dataset.config).values()), few=FEW)
        lengths = ((len(tower.encode_answer(text)) + 1, text) for text in shown)
        shortest = longest = next(lengths)
        for each in lengths:
            shortest, longest = min(shortest, each), max(longest, each)
        return asdict(CaptionLengths(bool(tower.count_truncated([prompt])), *longest, *shortest))

    return CaptionLengths(**load_or_compute("caption-lengths", _key(config) | {"prompt": prompt}, measure))


def _key(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tokens depend on: options, versions and content of tower and data set, and the source of plug-ins."""
    tower, _ = tower_node("text", config["text"])
    data, options = lookup_options(DATASETS, config["data"], "data")
    return {
        "nodes": [config["text"], config["data"]],
        "content": [tower_digest("text", config["text"]), data.cls.digest(options)],
        "code": [[entry.version, entry.source] for entry in (tower, data)],
    }


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
