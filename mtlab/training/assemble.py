"""Builds from a run's configuration all that it needs: data, sources of features, model, device."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mtlab.config.check import check_config
from mtlab.config.nodes import lookup_options
from mtlab.config.schema import MetricsConfig, RecordConfig, TrainConfig
from mtlab.data import truncation
from mtlab.data.base import DATASETS, Dataset, Split
from mtlab.data.batches import Loader
from mtlab.data.inputs import InputSource
from mtlab.data.shards.streaming.batch_loader import StreamingLoader
from mtlab.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from mtlab.distributed.sharding import Sharding
from mtlab.managers.base import Modality
from mtlab.model.forward import Runtime
from mtlab.resolution.identity import NEW_MANAGERS
from mtlab.seeding import derive
from mtlab.tasks.base import lookup_task
from mtlab.tasks.build import TaskModel, build
from mtlab.towers.base import Features
from mtlab.towers.build import TowerKind, build_tower, tower_shape
from mtlab.training.environment import choose_device
from mtlab.training.init_from import load_initial_weights
from mtlab.training.sources import Sources, cached_towers, make_sources, make_training_loader, towers_to_run

SAMPLE = 256  #: texts and images that channels are standardised by


@dataclass(frozen=True)
class AssembledRun:
    """A run that is ready to be trained."""

    config: Mapping[str, Any]
    seed: int
    train: TrainConfig
    metrics: MetricsConfig
    record: RecordConfig
    dataset: Dataset
    sources: Sources
    training: Loader | StreamingLoader
    model: TaskModel
    runtime: Runtime
    group: ProcessGroup  #: the processes that train it
    sharding: Sharding  #: the layers of which each holds a part, once training has begun
    levels: Mapping[Modality, tuple[int, ...]]  #: offered, 1-based
    cut_texts: str | None  #: which texts are too long for the tower, in words

    def loader(self, split: Split) -> Loader:
        """Return the batches of a split, as it is evaluated."""
        return self.sources.loader(self.dataset.examples(split))

    @property
    def evaluation_batch(self) -> int:
        """Examples in one forward pass without gradients."""
        return evaluation_batch_size(self.train, self.group.world_size)

    @property
    def evaluated_splits(self) -> tuple[Split, ...]:
        """The splits that a trained model is evaluated on: those whose right answers are known."""
        splits: tuple[Split, ...] = ("val", "test")
        return tuple(split for split in splits if split not in self.dataset.unlabelled_splits(self.dataset.config))

    @property
    def tower_scales(self) -> dict[str, float]:
        """Learning-rate multiplier of each tower that is trained."""
        return {kind: self.config[kind]["lr_scale"] for kind in ("text", "vision") if self.config[kind]["trainable"]}


def assemble(
    config: Mapping[str, Any], seed: int, group: ProcessGroup = SINGLE_PROCESS, initial: Path | None = None
) -> AssembledRun:
    """Build all that a run needs; caches are filled, unless another worker has done so.

    Args:
        config: the run's resolved configuration.
        seed: the run's.
        group: the processes that train it; each builds the same.
        initial: the file, or folder of an imported checkpoint, whose weights it starts from; None: from none.

    Raises:
        UserError: the configuration is wrong, or weights or data cannot be read, or not shared by so many processes.

    """
    train = check_config(TrainConfig, config["train"])
    chosen = choose_device(train.device, group.local_rank, group.local_world_size)
    runtime = Runtime(chosen, train.precision)
    entry, options = lookup_options(DATASETS, config["data"], "data")
    dataset = entry.cls(options)
    task, task_options = lookup_task(config)
    described = task.batch_needs(task_options).caption_prompt is not None  # a plan refuses captions that are too long
    cut = truncation.describe_truncation(
        config, {} if described else truncation.count_truncated_texts(config, dataset), entry.cls.sizes(options)
    )
    if cut is not None:
        print(f"texts {cut}", flush=True)
    cached = cached_towers(config)
    towers = {kind: build_tower(kind, config[kind]) for kind in towers_to_run(config, cached)}
    sources = make_sources(
        config,
        dataset,
        dataset.answers,
        towers,
        cached,
        progress=lambda kind: progress_logger(f"expert cache, {kind}"),
        device=str(runtime.device),
    )
    text, vision = tower_shape("text", config["text"]), tower_shape("vision", config["vision"])
    model = build(
        config,
        text,
        vision,
        answers=len(dataset.answers),
        seed=seed,
        text_tower=towers.get("text"),
        vision_tower=towers.get("vision"),
    )
    loaded: Collection[str] = ()
    if initial is not None:
        loaded, lines = load_initial_weights(model, initial, config["init_from"].get(NEW_MANAGERS, ()))
        print(*lines, sep="\n", flush=True)
    if model.encoder.standardise:  # by the levels of towers and gates as they are now; what was loaded stays
        kept = {name: buffer.clone() for name, buffer in model.named_buffers() if name in loaded}
        calibrate(model, dataset, sources, seed)
        for name, buffer in kept.items():
            model.get_buffer(name).copy_(buffer)
    if train.checkpoint_activations:
        model.recompute()
    return AssembledRun(
        config=config,
        seed=seed,
        train=train,
        metrics=check_config(MetricsConfig, config["metrics"]),
        record=check_config(RecordConfig, config["record"]),
        dataset=dataset,
        sources=sources,
        training=make_training_loader(train, dataset, sources, None if "vision" in cached else towers["vision"]),
        model=model.to(runtime.device),
        runtime=runtime,
        group=group,
        sharding=Sharding(),
        levels=model.encoder.levels,
        cut_texts=cut,
    )


@torch.no_grad()
def calibrate(model: TaskModel, dataset: Dataset, sources: Sources, seed: int) -> None:
    """Standardise the channels of the offered levels by an evenly spread sample of training texts and images.

    A trained tower runs here as in training: with dropout, whose draws follow from the seed and leave the caller's
    generator as it was, and with batch norms by the sample's statistics, which their running ones take in.
    """
    examples = dataset.sample("train", SAMPLE)
    texts = {example.text for example in examples}
    images = {key for example in examples for key in example.images}

    def levels(kind: TowerKind, source: InputSource, keys: set[str]) -> Features:
        distinct = sorted(keys)
        return model.features(kind, source.fetch(distinct[:: -(-len(distinct) // SAMPLE)]))

    with torch.random.fork_rng(devices=[]):  # the model is on the CPU still
        torch.default_generator.manual_seed(derive(seed, "calibrate"))
        model.encoder.calibrate(levels("text", sources.text, texts), levels("vision", sources.vision, images))


def evaluation_batch_size(train: TrainConfig, processes: int = 1) -> int:
    """Choose the examples of one forward pass without gradients: twice what each process fits with them."""
    return 2 * min(train.micro_batch or train.batch, train.batch // processes)


def progress_logger(title: str) -> Callable[[int, int], None]:
    """Return a callback that prints a line for every tenth of the whole."""
    tenths = -1

    def log(done: int, whole: int) -> None:
        nonlocal tenths
        if whole and done * 10 // whole > tenths:
            tenths = done * 10 // whole
            print(f"{title}: {done} of {whole}", flush=True)

    return log
