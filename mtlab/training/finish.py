"""The end of a run: the best checkpoint is judged on validation and test data, and all of it written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlab import files
from mtlab.data.base import Split
from mtlab.model.forward import ForwardContext
from mtlab.recording import averages, probe, tokens
from mtlab.runs import checkpoints
from mtlab.tasks.evaluation import Evaluation, evaluate
from mtlab.training import intervention_metrics
from mtlab.training.assemble import AssembledRun
from mtlab.training.environment import device_name, peak_memory_mib
from mtlab.training.resume import Progress, check_best_checkpoint

if TYPE_CHECKING:
    import numpy as np
    import polars
    from numpy.typing import NDArray


def finish(
    run: AssembledRun, progress: Progress, folder: Path, counted: Mapping[str, Any], check: Callable[[], None]
) -> dict[str, Any]:
    """Judge a trained run and write all that it leaves, but for `result.json`, which is returned.

    Of several processes all judge, each its share, and the leader writes.

    Args:
        run: model and data.
        progress: how training ended.
        folder: the run directory.
        counted: parameters and FLOPs, as the plan counted them: counting needs the towers, which may be cached here.
        check: called between batches; an interruption may raise from here.

    Raises:
        CorruptError: the best checkpoint is lost or damaged, or not the one that validation chose.

    """
    best = folder / "checkpoints" / "best.safetensors"
    if not run.group.broadcast_object(run.group.is_main and check_best_checkpoint(best, progress, print)[0]):
        raise checkpoints.CorruptError(f"the best checkpoint, of step {progress.best_step}, is lost")
    tensors, _ = checkpoints.load(best)
    checkpoints.restore(run.model, tensors)
    run.model.eval()
    batch = run.evaluation_batch
    context = ForwardContext(run.model, run.runtime, group=run.group)
    judged = {split: evaluate(context, run.loader(split), batch, check) for split in run.evaluated_splits}
    metrics: dict[str, float] = {} if progress.train_loss is None else {"train/loss": progress.train_loss}
    for split, found in judged.items():
        metrics |= found.metrics(split)
    if run.record.examples and run.group.is_main:
        write_examples(folder / "examples.parquet", judged)
    measured = record(run, folder, judged["val"], progress.best_step, check)
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
            "memory_mib": max(run.group.all_gather_objects([peak_memory_mib(run.runtime.device)])),  # of one process
        },
        "interventions": measured,
        "cut_texts": run.cut_texts,
        "mixes": {
            "device": device_name(run.runtime.device),
            "threads": run.train.threads,
            "micro_batch": run.train.micro_batch or run.train.batch,
            "processes": run.group.world_size,
        },
    }


def record(
    run: AssembledRun, folder: Path, judged: Evaluation, step: int, check: Callable[[], None]
) -> dict[str, Any] | None:
    """Write what `run.record` asks for of the best checkpoint, in the model now; return what interventions gave.

    Args:
        run: model and data.
        folder: the run directory.
        judged: the model on validation data.
        step: of the checkpoint.
        check: called between batches.

    """
    wanted, loader, device = run.record, run.loader("val"), run.runtime.device
    batch, levels, leads = run.evaluation_batch, run.levels, run.group.is_main
    intervened = None
    with probe.recording_mode(run.model, device):
        look = partial(probe.record_batch, run.model, run.runtime)
        if wanted.layers or wanted.interventions:
            rows = probe.sample_evenly(loader.examples, averages.EXAMPLES)
            found = averages.record_averages(look, loader, rows, batch, device, levels, check)
            if wanted.layers and leads:
                described = averages.describe_averages(found, levels, len(rows)) | {"step": step}
                checkpoints.save(folder / "layers.safetensors", found, described)
            if wanted.interventions:
                mixing = averages.weighted_modalities(found, run.model.encoder.config.cross_layers)
                intervened = intervention_metrics.measure_interventions(
                    run.model, loader, batch, run.runtime, levels, mixing, check, run.group
                )
        if wanted.tokens and leads:
            rows = probe.sample_evenly(loader.examples, tokens.EXAMPLES)
            seen = tokens.record_tokens(look, loader, rows, batch, device)
            examples = [loader.examples[row] for row in rows]
            told = [judged.answers_in_words(row, run.dataset.answers) for row in rows]
            described = tokens.describe_tokens(run.config, levels, seen, examples, told) | {"step": step}
            checkpoints.save(folder / "tokens.safetensors", seen, described)
    return intervened


def write_examples(path: Path, judged: Mapping[Split, Evaluation]) -> None:
    """Write one row per outcome: split, id, family, target, prediction, and its score in the task's primary metric.

    Raises:
        UserError: the disk is full, or the folder may not be written.

    """
    import polars

    parts = [_table(split, found) for split, found in judged.items()]
    with files.atomic_write(path) as scratch:
        polars.concat(parts).write_parquet(scratch)


def _table(split: Split, judged: Evaluation) -> polars.DataFrame:
    import polars

    return polars.DataFrame(
        {
            "split": [split] * len(judged.ids),
            "id": list(judged.ids),
            "family": list(judged.families),
            "target": _numbers(judged.targets, len(judged.ids)),
            "prediction": _numbers(judged.predictions, len(judged.ids)),
            "score": judged.outcomes,
        }
    )


def _numbers(answers: NDArray[np.int64] | None, rows: int) -> polars.Series:
    """Make a column of answers by number; of nothing where the task has no answers."""
    import polars

    return polars.Series([None] * rows if answers is None else answers, dtype=polars.Int64)
