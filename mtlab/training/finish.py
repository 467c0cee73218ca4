"""The end of a run: the best checkpoint is judged on validation and test data, and all of it written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mtlab import files
from mtlab.data.base import Example, Split
from mtlab.data.batches import Batch
from mtlab.managers.base import MODALITIES, Modality
from mtlab.model import VisionLanguageModel
from mtlab.training import checkpoints, interventions, record
from mtlab.training.assemble import Assembled
from mtlab.training.environment import device_name, peak_memory_mib
from mtlab.training.evaluate import Evaluation, evaluate
from mtlab.training.loop import evaluation_batch
from mtlab.training.progress import Progress
from mtlab.training.steps import Arithmetic, logits

JUDGED: tuple[Split, ...] = ("val", "test")


def finish(
    run: Assembled, progress: Progress, folder: Path, counted: Mapping[str, Any], check: Callable[[], None]
) -> dict[str, Any]:
    """Judge a trained run and write all that it leaves, but for `result.json`, which is returned.

    Args:
        run: model and data.
        progress: how training ended.
        folder: the run directory.
        counted: parameters and FLOPs, as the plan counted them: counting needs the towers, which may be cached here.
        check: called between batches; an interruption may raise from here.

    Raises:
        CorruptError: the best checkpoint cannot be read.

    """
    tensors, _ = checkpoints.load(folder / "checkpoints" / "best.safetensors")
    checkpoints.restore(run.model, tensors)
    run.model.eval()
    batch = evaluation_batch(run.train)
    loaders = {split: run.loader(split) for split in JUDGED}
    answer = partial(logits, run.model, arithmetic=run.arithmetic)
    judged = {
        split: evaluate(answer, run.model.task, loader, batch, run.arithmetic.device, check)
        for split, loader in loaders.items()
    }
    metrics: dict[str, float] = {} if progress.train_loss is None else {"train/loss": progress.train_loss}
    for split, loader in loaders.items():
        metrics |= judged[split].metrics(loader.examples, split)
    if run.record.examples:
        outcomes = [(split, loaders[split].examples, judged[split]) for split in JUDGED]
        write_examples(folder / "examples.parquet", outcomes)
    intervened = None
    if run.record.layers or run.record.interventions:
        averaged = record.layers(
            partial(recorded, run.model, run.arithmetic), loaders["val"], batch, run.arithmetic.device, check
        )
        if run.record.layers:
            record.write(folder / "layers.safetensors", averaged, run.levels)
        if run.record.interventions:
            mixing = _mixing(averaged, run.model.encoder.config.cross_layers)
            intervened = interventions.measure(
                run.model, loaders["val"], batch, run.arithmetic, run.levels, mixing, check
            )
    return {
        "format": 1,
        "steps": progress.step,
        "best_step": progress.best_step,
        "stopped_early": progress.stopped,
        "metrics": metrics,
        "cost": {
            **counted,
            "seconds": progress.seconds,
            "examples_per_second": progress.step * run.train.batch / progress.seconds,
            "memory_mib": peak_memory_mib(run.arithmetic.device),
        },
        "interventions": intervened,
        "mixes": {
            "device": device_name(run.arithmetic.device),
            "threads": run.train.threads,
            "micro_batch": run.train.micro_batch or run.train.batch,
        },
    }


def recorded(
    model: VisionLanguageModel, arithmetic: Arithmetic, batch: Batch
) -> tuple[record.Recorded, dict[Modality, torch.Tensor | None]]:
    """Run the model and give what its managers record, with the masks of both modalities."""
    with arithmetic.autocast():
        text, image = model.features("text", batch.text), model.features("vision", batch.image)
        fused = model(text, image, record=True).fused
    return fused.recorded, {"text": text.mask, "image": image.mask}


def write_examples(path: Path, outcomes: list[tuple[Split, Any, Evaluation]]) -> None:
    """Write one row per example: split, id, family, target, prediction, and its score in the task's first metric.

    Raises:
        UserError: the disk is full, or the folder may not be written.

    """
    import polars

    parts = [polars.DataFrame(_columns(split, list(examples), judged)) for split, examples, judged in outcomes]
    with files.temporary(path) as scratch:
        polars.concat(parts).write_parquet(scratch)


def _columns(split: Split, examples: list[Example], judged: Evaluation) -> dict[str, Any]:
    return {
        "split": [split] * len(examples),
        "id": [example.id for example in examples],
        "family": [example.family for example in examples],
        "target": [example.target for example in examples],
        "prediction": judged.predictions,
        "score": next(iter(judged.scores.values())),
    }


def _mixing(averaged: Mapping[str, torch.Tensor], cross_layers: int) -> set[Modality]:
    """Tell the modalities whose managers all record weights."""
    depths = range(cross_layers)
    return {m for m in MODALITIES if cross_layers and all(f"weights/{m}/{depth}" in averaged for depth in depths)}
