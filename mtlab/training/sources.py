"""Where a run's inputs come from: the expert cache for frozen towers, raw data for those that run in every step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtlab import files
from mtlab.config.check import checked
from mtlab.config.nodes import configured
from mtlab.config.schema import CacheConfig
from mtlab.data.base import Dataset, Example
from mtlab.data.batches import Extras, Hiding, Loader, RawImages, RawTexts, Source
from mtlab.data.cache import expert_cache
from mtlab.data.masking import Masking
from mtlab.errors import UserError
from mtlab.tasks.base import TASKS, Wants
from mtlab.towers import KINDS, TowerKind, is_cached
from mtlab.towers.base import Tower

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sources:
    """What the batches of a run are made of."""

    text: Source
    vision: Source
    extras: Extras

    def loader(self, examples: Sequence[Example]) -> Loader:
        """Make the batches of a split."""
        return Loader(examples, self.text, self.vision, self.extras)


def running(config: Mapping[str, Any], cached: Collection[TowerKind]) -> set[TowerKind]:
    """Name the towers that run as a task is trained or judged: those that are not cached, and what reads hidden words.

    Args:
        config: a resolved configuration.
        cached: the towers whose levels come from the expert cache, see `cached_towers`.

    """
    hides = wants_of(config).hidden is not None
    return {kind for kind in KINDS if kind not in cached or (kind == "text" and hides)}


def cached_towers(config: Mapping[str, Any]) -> set[TowerKind]:
    """Name the towers whose levels come from the expert cache, on the data that a run is trained on."""
    return {kind for kind in KINDS if is_cached(kind, config)}


def wants_of(config: Mapping[str, Any]) -> Wants:
    """Ask the task of a resolved configuration what its batches must hold."""
    entry, options = configured(TASKS, config["task"], "task")
    return entry.cls.wants(options)


def gather(
    config: Mapping[str, Any],
    dataset: Dataset,
    answers: Sequence[str],
    towers: Mapping[TowerKind, Tower[Any]],
    cached: Collection[TowerKind],
    *,
    progress: Callable[[TowerKind], Progress],
    device: str,
) -> Sources:
    """Make the sources of both modalities; a cache that is not there is filled, unless another worker does so.

    Args:
        config: the run's resolved configuration.
        dataset: holds the images.
        answers: what the model chooses from.
        towers: those that run, see `running`.
        cached: those whose levels come from the cache.
        progress: tower → what is told how many texts or images are cached, of how many.
        device: where a tower runs whose cache is filled.

    Raises:
        UserError: weights or data cannot be read, or no word can be hidden from the text tower.

    """

    def source(kind: TowerKind) -> Source:
        if kind not in cached:
            return RawTexts(towers[kind]) if kind == "text" else RawImages(towers[kind], dataset)
        return expert_cache(
            kind,
            config[kind],
            config["data"],
            checked(CacheConfig, config["cache"]),
            root=files.cache_root(),
            progress=progress(kind),
            device=device,
        )

    wants = wants_of(config)
    extras = Extras(
        answers=tuple(answers) if wants.scores and "scores" in dataset.provides else None,
        hiding=None if wants.hidden is None else _hiding(wants, towers["text"]),
        mismatches=wants.mismatches,
        mismatches_in_training=wants.mismatches_in_training,
        identities=wants.identities,
    )
    return Sources(source("text"), source("vision"), extras)


def _hiding(wants: Wants, tower: Tower[Any]) -> Hiding:
    vocabulary = tower.vocabulary()
    if vocabulary is None:
        raise UserError("its tokeniser has no mask token: no word can be hidden from it", key="text.name")
    if wants.whole_words and not vocabulary.continuing:
        raise UserError(
            "the text tower's tokeniser does not tell which pieces make a word (BERT's do)", key="task.whole_words"
        )
    whole = bool(vocabulary.continuing) if wants.whole_words is None else wants.whole_words
    assert wants.hidden is not None, "asked for by who hides words"
    return Hiding(Masking(vocabulary, wants.hidden, whole), RawTexts(tower))
