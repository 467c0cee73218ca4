"""The training loop: one for every variant."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from mtlab.data.batches import Batch, prefetch
from mtlab.errors import UserError, nearest
from mtlab.model.forward import ForwardContext
from mtlab.recording.trace import Trace, recorded_steps
from mtlab.runs import checkpoints
from mtlab.tasks.evaluation import evaluate
from mtlab.training.assemble import AssembledRun
from mtlab.training.environment import describe_conditions
from mtlab.training.failures import DivergedError
from mtlab.training.interrupt import Interrupted, Interrupts
from mtlab.training.metrics_log import MetricsLog
from mtlab.training.optimisation.master_weights import MasterWeights, hold_weights
from mtlab.training.optimisation.optimiser import (
    gradient_norms,
    load_state,
    make_optimiser,
    set_learning_rate,
    state_tensors,
)
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.optimisation.schedule import learning_rate_factor
from mtlab.training.optimisation.sharded_layers import layers_to_shard
from mtlab.training.resume import FROM_START, TrainingProgress, read_last_checkpoint
from mtlab.training.steps import train_step
from mtlab.units import format_metric

LOG_EVERY = 20  #: steps; the loss is read from the device no more often


class Loop:
    """Trains a model from its last checkpoint on, and writes metrics and checkpoints to the run directory.

    Args:
        run: model, data and settings; of several processes the main one writes.
        folder: the run directory.
        interrupts: checked between steps.

    """

    def __init__(self, run: AssembledRun, folder: Path, interrupts: Interrupts) -> None:
        self.run = run
        self.interrupts = interrupts
        self.last = folder / "checkpoints" / "last.safetensors"
        self.best = folder / "checkpoints" / "best.safetensors"
        self.metrics_log = MetricsLog(folder / "metrics.jsonl")
        self.groups = parameter_groups(run.model, run.train, run.tower_scales)
        self.optimiser: torch.optim.Optimizer  #: from `_resume` on
        self.masters: MasterWeights
        self.optimiser_state: Mapping[str, Tensor] = {}  #: of the checkpoint that is resumed from
        self.validation = run.loader("val")
        self.steps = run.train.length.steps or 0
        self.progress = TrainingProgress()
        self.saved = 0  #: step of the last checkpoint
        self.loss_sum = torch.zeros((), device=run.runtime.device)
        self.gradients: dict[str, Tensor] = {}  #: norms at a recorded step
        self.trace: Trace | None = None
        sharded = run.train.shard and run.group.world_size > 1  # one process alone could not run the model
        if run.record.trace and run.group.is_main and not sharded:
            path, batch = folder / "trace.safetensors", run.evaluation_batch
            self.trace = Trace(path, run.model, run.runtime, self.validation, batch, run.levels)
        self.recorded = recorded_steps(self.steps) if self.trace else frozenset()

    def train(self) -> TrainingProgress:
        """Train to the end.

        Raises:
            Interrupted: by a signal; the last checkpoint is at the last finished step.
            DivergedError: a loss is not a finite number.

        """
        self._resume()
        with self.interrupts.deferred():
            try:
                self._train()
            except Interrupted:
                self._save_checkpoint()
                self.run.group.barrier()
                raise
        if self.run.group.is_main:
            self.metrics_log.verify(_log)
        return self.progress

    def _train(self) -> None:
        progress, train, batches = self.progress, self.run.train, self._timed(self._batches())
        self.run.model.train()
        self._record(0)
        while True:
            self.interrupts.check()
            done = progress.step == self.steps or progress.stopped
            if progress.validated < progress.step and (done or progress.step % train.eval_every == 0):
                self._validate()
                done = done or progress.stopped
            if done:
                self._record(progress.step)
            if self.saved < progress.step and (done or progress.step % train.checkpoint_every == 0):
                self._save_checkpoint()
            if done:
                return
            self._step(next(batches))
            # At once, so that no checkpoint is ahead of the trace: the gradient would be lost.
            if progress.step in self.recorded:
                self._record(progress.step)

    def _step(self, micro_batches: tuple[Batch, ...]) -> None:
        run, progress, started = self.run, self.progress, time.perf_counter()
        rate = run.train.lr * learning_rate_factor(progress.step, self.steps, run.train)
        set_learning_rate(self.optimiser, self.groups, rate)
        self.gradients = {}
        self.loss_sum = self.loss_sum + train_step(
            run.model,
            self.optimiser,
            micro_batches,
            run.runtime,
            seed=run.seed,
            step=progress.step,
            clip=run.train.clip,
            on_gradients=self._measure_gradients if progress.step + 1 in self.recorded else None,
            group=run.group,
            sharding=run.sharding,
        )
        progress.step += 1
        progress.loss_steps += 1
        progress.seconds += time.perf_counter() - started
        if progress.step % LOG_EVERY == 0 or progress.step == self.steps:
            self._read_loss()
            progress.train_loss = progress.loss_sum / progress.loss_steps
            progress.loss_sum, progress.loss_steps = 0.0, 0
            self.loss_sum.zero_()
            self._log_metrics({"train/loss": progress.train_loss, "train/lr": rate})

    def _validate(self) -> None:
        run, progress, metrics = self.run, self.progress, self.run.metrics
        self._read_loss()
        self._synchronise_buffers()
        self.optimiser.zero_grad(set_to_none=True)  # the next step makes them anew: until then they only take memory
        run.model.eval()
        context = ForwardContext(run.model, run.runtime, group=run.group, reads="metrics")
        with run.sharding.gathered():
            evaluation = evaluate(context, self.validation, run.evaluation_batch, self.interrupts.check)
        run.model.train()
        values = evaluation.metrics("val")
        if not math.isfinite(evaluation.loss):
            raise DivergedError(f"the validation loss is {evaluation.loss} at step {progress.step}")
        if metrics.choose not in values:
            raise UserError(f"no metric {metrics.choose!r}; {nearest(metrics.choose, values)}", key="metrics.choose")
        self._log_metrics(values)
        assert metrics.mode is not None  # of a resolved configuration
        better = progress.update(values[metrics.choose], metrics.mode, run.train.patience)
        if better:
            tensors = self._model_tensors()
            metadata = {"step": progress.step, "metric": metrics.choose, "value": progress.best}
            if run.group.is_main:
                progress.best_checksum = checkpoints.save(self.best, tensors, metadata)
        _log(self._describe(values))

    def _describe(self, values: Mapping[str, float]) -> str:
        progress = self.progress
        shown = {"train/loss": progress.train_loss, **summary_metrics(values)}
        words = [f"{name} {format_metric(value, name)}" for name, value in shown.items() if value is not None]
        words.append(f"best {format_metric(progress.best or 0, self.run.metrics.choose)} at {progress.best_step}")
        words.append(f"{progress.step * self.run.train.batch / max(progress.seconds, 1e-9):.0f} examples/s")
        return f"step {progress.step}/{self.steps}: {', '.join(words)}"

    def _log_metrics(self, values: Mapping[str, float]) -> None:
        if self.run.group.is_main:
            self.metrics_log.add(self.progress.step, self.progress.seconds, values)

    def _read_loss(self) -> None:
        """Wait for the device, which is time of the steps, and check the loss that it has summed."""
        started = time.perf_counter()
        self.progress.loss_sum = self.loss_sum.item()
        self.progress.seconds += time.perf_counter() - started
        if not math.isfinite(self.progress.loss_sum):
            raise DivergedError(f"the training loss is {self.progress.loss_sum} at step {self.progress.step}")

    def _measure_gradients(self) -> None:
        self.gradients = gradient_norms(self.optimiser, self.groups)

    def _record(self, step: int) -> None:
        """Record the model as it is after this step, unless it has been."""
        if self.trace is not None and step == self.progress.step and step not in self.trace:
            self.trace.record(step, self.gradients)

    def _save_checkpoint(self) -> None:
        self._read_loss()
        self._synchronise_buffers()
        self.saved = self.progress.step
        model = {f"model/{name}": tensor for name, tensor in self._model_tensors().items()}
        moments = state_tensors(self.optimiser, self.groups, self.run.sharding)
        if not self.run.group.is_main:
            return
        state = {f"optimiser/{key}": held for key, held in moments.items()}
        # Copies of metrics and trace, so that their files can be repaired.
        trace = {} if self.trace is None else {f"trace/{name}": held for name, held in self.trace.tensors().items()}
        lines = {"metrics/lines": self.metrics_log.tensor()}
        checkpoints.save(self.last, model | state | lines | trace, asdict(self.progress))

    def _model_tensors(self) -> dict[str, Tensor]:
        """Return the model for a checkpoint, in float32; all processes must call this."""
        return checkpoints.full_tensors(self.run.model) | self.masters.tensors()

    def _synchronise_buffers(self) -> None:
        """Take over the main process's buffers, such as the statistics of a batch norm that is trained."""
        self.run.group.broadcast([*self.run.model.buffers()])

    def _resume(self) -> None:
        """Resume from the last checkpoint; start from the beginning if there is none, or none that is intact.

        Of several processes the main one decides, and the others follow.
        """
        group = self.run.group
        if group.is_main:
            self._read_checkpoint()
        self.progress = group.broadcast_object(self.progress)
        if changed := self.progress.continue_under(describe_conditions(self.run)):
            _log(f"the steps before were made under other conditions, which the report will tell: {changed}")
        if not group.is_main and self.progress.step:
            checkpoints.restore(self.run.model, checkpoints.StoredTensors(self.last, "model/"))
            self.optimiser_state = checkpoints.StoredTensors(self.last, "optimiser/")
        group.broadcast([*checkpoints.model_tensors(self.run.model).values()])  # to the last bit, whatever drew them
        if self.run.train.shard:
            self.run.sharding.start(layers_to_shard(self.run.model), group, self.run.runtime.device)
        self.masters = hold_weights(self.run.model, self.run.train)
        updated = self.run.sharding.shards() | self.masters.of
        self.optimiser = self.masters.follow(make_optimiser(self.run.model, self.groups, self.run.train, updated))
        load_state(self.optimiser, self.groups, self.optimiser_state, self.run.sharding)
        self.optimiser_state = {}
        self.saved = self.progress.step
        self.loss_sum.fill_(self.progress.loss_sum)

    def _read_checkpoint(self) -> None:
        """Read what an earlier attempt has written, metrics and trace included."""
        tensors: Mapping[str, Tensor] = {}
        if (found := read_last_checkpoint(self.last, self.best, _log)) is not None:
            try:
                self._restore(found[0])
            except checkpoints.CorruptError as error:
                _log(f"{error}: set aside as {checkpoints.set_aside(self.last).name}; {FROM_START}")
            else:
                tensors, self.progress = found
                _log(f"resuming after step {self.progress.step}/{self.steps}")
        self.metrics_log.restore(tensors.get("metrics/lines"), _log)
        if self.trace is not None:
            self.trace.restore(checkpoints.with_prefix("trace", tensors), _log)

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        checkpoints.restore(self.run.model, checkpoints.with_prefix("model", tensors))
        self.optimiser_state = checkpoints.with_prefix("optimiser", tensors)

    def _timed(self, batches: Iterator[tuple[Batch, ...]]) -> Iterator[tuple[Batch, ...]]:
        """Count waiting for batches as time of the steps; the first wait is start-up, of processes that read."""
        yield next(batches)
        started = time.perf_counter()
        for micro_batches in batches:
            self.progress.seconds += time.perf_counter() - started
            yield micro_batches
            started = time.perf_counter()

    def _batches(self) -> Iterator[tuple[Batch, ...]]:
        train, ranks, task = self.run.train, self.run.group.ranks, self.run.model.task
        micro = train.micro_batch or train.batch
        if task.contrasts(task.config, train.batch) is not None:
            micro //= ranks.world_size  # each process has its share of every contrast
        steps = self.run.training.steps(self.run.seed, train.batch, micro, self.progress.step, ranks)
        if self.run.runtime.device.type != "cuda":
            return steps
        return prefetch(tuple(batch.pin_memory() for batch in micro_batches) for micro_batches in steps)


def _log(line: str) -> None:
    print(line, flush=True)


def summary_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Choose the metrics that a line shows: those of no family, each once."""
    left_out = ("/primary", "_floor", "_floor_error")
    return {name: value for name, value in metrics.items() if name.count("/") == 1 and not name.endswith(left_out)}
