"""The end of a run: its best checkpoint is evaluated on validation and test data, and recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlab import files
from mtlab.data.base import Split
from mtlab.model.forward import ForwardContext
from mtlab.recording import averages, probe, tokens
from mtlab.runs import checkpoints
from mtlab.tasks.evaluation import Evaluation, evaluate
from mtlab.training.assemble import AssembledRun
from mtlab.training.environment import peak_memory_mib
from mtlab.training.intervention_metrics import measure_interventions
from mtlab.training.resume import TrainingProgress, check_best_checkpoint

if TYPE_CHECKING:
    import numpy as np
    import polars
    from numpy.typing import NDArray


def finish(
    run: AssembledRun, progress: TrainingProgress, folder: Path, cost: Mapping[str, Any], check: Callable[[], None]
) -> dict[str, Any]:
    """Evaluate a trained run and write all its files but `result.json`, whose content is returned.

    Several processes share the evaluation, and the main one writes.

    Args:
        run: model and data.
        progress: how training ended.
        folder: the run directory.
        cost: parameters and FLOPs, as planned: counting them needs the towers, which may be cached here.
        check: called between batches; an interruption may raise from here.

    Raises:
        CorruptError: the best checkpoint is lost or damaged, or not the one that validation chose.

    """
    best = folder / "checkpoints" / "best.safetensors"
    if not run.group.broadcast_object(run.group.is_main and check_best_checkpoint(best, progress, print)[0]):
        raise checkpoints.CorruptError(f"the best checkpoint, of step {progress.best_step}, is lost")
    checkpoints.restore(run.model, checkpoints.StoredTensors(best))
    with run.sharding.gathered():
        return _finish(run, progress, folder, cost, check)


def _finish(
    run: AssembledRun, progress: TrainingProgress, folder: Path, cost: Mapping[str, Any], check: Callable[[], None]
) -> dict[str, Any]:
    run.model.eval()
    context = ForwardContext(run.model, run.runtime, group=run.group, reads="metrics")
    evaluations = {
        split: evaluate(context, run.loader(split), run.evaluation_batch, check) for split in run.evaluated_splits
    }
    metrics: dict[str, float] = {} if progress.train_loss is None else {"train/loss": progress.train_loss}
    for split, evaluation in evaluations.items():
        metrics |= evaluation.metrics(split) | evaluation.floors(split)
    if run.record.examples and run.group.is_main:
        write_examples(folder / "examples.parquet", evaluations)
    interventions = record(run, folder, evaluations["val"], progress.best_step, check)
    return {
        "format": 1,
        "steps": progress.step,
        "best_step": progress.best_step,
        "stopped_early": progress.step < (run.train.length.steps or 0),
        "metrics": metrics,
        "cost": {
            **cost,
            "seconds": progress.seconds,
            "examples_per_second": progress.step * run.train.batch / progress.seconds,
            "memory_mib": max(run.group.all_gather_objects([peak_memory_mib(run.runtime.device)])),  # of one process
        },
        "interventions": interventions,
        "cut_texts": run.cut_texts,
        "mixes": progress.conditions_in_short(),
    }


def record(
    run: AssembledRun, folder: Path, evaluation: Evaluation, step: int, check: Callable[[], None]
) -> dict[str, Any] | None:
    """Write what `run.record` asks for of the best checkpoint, and return the metrics under interventions.

    Args:
        run: data, and the model with the weights of the checkpoint.
        folder: the run directory.
        evaluation: of the model on validation data.
        step: of the checkpoint.
        check: called between batches.

    """
    options, loader, device = run.record, run.loader("val"), run.runtime.device
    batch, levels, is_main = run.evaluation_batch, run.levels, run.group.is_main
    interventions = None
    with probe.recording_mode(run.model, device):
        recorder = partial(probe.record_batch, run.model, run.runtime)
        if options.layers or options.interventions:
            rows = probe.sample_evenly(loader.examples, averages.EXAMPLES)
            layers = averages.record_averages(recorder, loader, rows, batch, device, levels, check)
            if options.layers and is_main:
                first = run.model.encoder.first_layer
                metadata = averages.describe_averages(layers, levels, len(rows), first) | {"step": step}
                checkpoints.save(folder / "layers.safetensors", layers, metadata)
            if options.interventions:
                weighted = averages.weighted_modalities(layers, run.model.encoder)
                interventions = measure_interventions(
                    run.model, loader, batch, run.runtime, levels, weighted, check, run.group
                )
        if options.tokens and is_main:
            rows = probe.sample_evenly(loader.examples, tokens.EXAMPLES)
            arrays = tokens.record_tokens(recorder, loader, rows, batch, device)
            chosen = [loader.examples[row] for row in rows]
            examples = [replace(each, text=loader.options.tower_text(each.text)) for each in chosen]
            answers = [evaluation.answers_in_words(row, run.dataset.answers) for row in rows]
            metadata = tokens.describe_tokens(run.config, levels, arrays, examples, answers) | {"step": step}
            metadata |= {"first_layer": run.model.encoder.first_layer}
            checkpoints.save(folder / "tokens.safetensors", arrays, metadata)
    return interventions


def write_examples(path: Path, evaluations: Mapping[Split, Evaluation]) -> None:
    """Write one row per outcome: split, id, family, cluster, target, prediction, score in the task's primary metric.

    Raises:
        UserError: the disk is full, or the folder may not be written.

    """
    import polars

    parts = [_table(split, evaluation) for split, evaluation in evaluations.items()]
    with files.atomic_write(path) as scratch:
        polars.concat(parts).write_parquet(scratch)


def _table(split: Split, evaluation: Evaluation) -> polars.DataFrame:
    import polars

    return polars.DataFrame(
        {
            "split": [split] * len(evaluation.ids),
            "id": list(evaluation.ids),
            "family": list(evaluation.families),
            "cluster": list(evaluation.clusters),
            "target": _numbers(evaluation.targets, len(evaluation.ids)),
            "prediction": _numbers(evaluation.predictions, len(evaluation.ids)),
            "score": evaluation.outcomes,
        }
    )


def _numbers(answers: NDArray[np.int64] | None, rows: int) -> polars.Series:
    """Make a column of answers by number; of nothing where the task has no answers."""
    import polars

    return polars.Series([None] * rows if answers is None else answers, dtype=polars.Int64)
