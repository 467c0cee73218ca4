"""The sources of a run's inputs: the expert cache for frozen towers, raw data for those that run in every step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtlab import files
from mtlab.config.check import check_config
from mtlab.config.schema import CacheConfig, TrainConfig
from mtlab.data.base import Dataset, Example
from mtlab.data.batches import BatchOptions, Collator, Loader, TextMasking
from mtlab.data.cache.expert_cache import open_expert_cache
from mtlab.data.captions import Captions
from mtlab.data.inputs import AugmentedImages, InputSource, RawImages, RawTexts
from mtlab.data.masking import Masking
from mtlab.data.shards.dataset import ShardedDataset
from mtlab.data.shards.streaming.batch_loader import StreamingLoader
from mtlab.data.shards.streaming.sample_loader import SampleLoader
from mtlab.data.transforms.base import build_transform
from mtlab.data.transforms.tower_preprocessing import AugmentedPreprocessing, TowerPreprocessing
from mtlab.errors import UserError
from mtlab.tasks.base import BatchNeeds, lookup_task
from mtlab.towers.base import Tower
from mtlab.towers.build import KINDS, TowerKind, is_cached
from mtlab.towers.causal_lm import CausalLanguageModel

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sources:
    """The sources of a run's batches."""

    text: InputSource
    vision: InputSource
    options: BatchOptions

    def loader(self, examples: Sequence[Example]) -> Loader:
        """Make the batches of a split."""
        return Loader(examples, self.text, self.vision, self.options)


def towers_to_run(config: Mapping[str, Any], cached: Collection[TowerKind]) -> set[TowerKind]:
    """Return the towers that run in training and evaluation: those not cached, and what reads masked words.

    Args:
        config: a resolved configuration.
        cached: the towers whose levels come from the expert cache, see `cached_towers`.

    """
    task, options = lookup_task(config)
    hides = task.batch_needs(options).mask_share is not None
    return {kind for kind in KINDS if kind not in cached or (kind == "text" and hides)}


def cached_towers(config: Mapping[str, Any]) -> set[TowerKind]:
    """Return the towers whose levels come from the expert cache, on the data that a run is trained on."""
    return {kind for kind in KINDS if is_cached(kind, config)}


def make_sources(
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
        towers: those that run, see `towers_to_run`.
        cached: those whose levels come from the cache.
        progress: tower → callback that gets how many texts or images are cached, of how many.
        device: where a tower runs whose cache is filled.

    Raises:
        UserError: weights or data cannot be read, or no word can be masked for the text tower.

    """

    def source(kind: TowerKind) -> InputSource:
        if kind not in cached:
            return RawTexts(towers[kind]) if kind == "text" else RawImages(towers[kind], dataset)
        return open_expert_cache(
            kind,
            config[kind],
            config["data"],
            check_config(CacheConfig, config["cache"]),
            root=files.cache_root(),
            progress=progress(kind),
            device=device,
        )

    task, options = lookup_task(config)
    needs, offers = task.batch_needs(options), dataset.offers(dataset.config)
    captions = None
    if needs.caption_prompt is not None:
        reader = towers["text"]
        assert isinstance(reader, CausalLanguageModel), "a plan refuses others"
        captions = Captions(needs.caption_prompt, reader, dataset.named_objects if "objects" in offers else None)
    batch_options = BatchOptions(
        answers=tuple(answers) if needs.scores and "scores" in offers else None,
        masking=None if needs.mask_share is None else _text_masking(needs, towers["text"]),
        negatives=needs.negatives,
        negatives_in_training=needs.negatives_in_training,
        image_ids=needs.image_ids,
        captions=captions,
    )
    return Sources(source("text"), source("vision"), batch_options)


def make_training_loader(
    train: TrainConfig, dataset: Dataset, sources: Sources, vision: Tower[Any] | None
) -> Loader | StreamingLoader:
    """Make the batches of training: streamed, where a tower reads the images of shards in every step.

    Args:
        train: the run's settings.
        dataset: whose training examples these are.
        sources: of the run.
        vision: the tower that reads images; None: its levels come from the cache.

    Raises:
        UserError: images are to be augmented that no tower reads, or that this tower reads otherwise.

    """
    node, preprocessing = train.augment, None if vision is None else vision.preprocessing()
    if node is not None and preprocessing is None:
        raise UserError("the vision tower makes its pixels in a way of its own", key="train.augment")
    transform = None
    if node is not None and preprocessing is not None:
        transform = AugmentedPreprocessing(build_transform({**node, "size": preprocessing.size}), preprocessing)
    if preprocessing is not None and isinstance(dataset, ShardedDataset):
        reader = SampleLoader(
            dataset.stream("train"), transform or TowerPreprocessing(preprocessing), workers=train.num_workers
        )
        return StreamingLoader(reader, dataset, Collator(sources.text, sources.options))
    augmented = None if transform is None else AugmentedImages(transform, dataset)
    return Loader(dataset.examples("train"), sources.text, sources.vision, sources.options, augmented)


def _text_masking(needs: BatchNeeds, tower: Tower[Any]) -> TextMasking:
    vocabulary = tower.vocabulary()
    if vocabulary is None:
        raise UserError("its tokeniser has no mask token: no word can be hidden from it", key="text.name")
    whole = bool(vocabulary.continuing) if needs.whole_words is None else needs.whole_words
    assert needs.mask_share is not None, "only tasks with masked words get here"
    return TextMasking(Masking(vocabulary, needs.mask_share, whole), RawTexts(tower))
