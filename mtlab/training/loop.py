"""The training loop: one for every variant."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from mtlab.config.schema import MetricsConfig, TrainConfig
from mtlab.data.batches import Batch, Loader, prefetch
from mtlab.data.shards.streaming.batch_loader import StreamingLoader
from mtlab.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from mtlab.errors import UserError, nearest
from mtlab.model.forward import ForwardContext, Runtime
from mtlab.recording.trace import Trace, recorded_steps
from mtlab.runs import checkpoints
from mtlab.tasks.build import TaskModel
from mtlab.training.evaluate import evaluate, evaluation_batch
from mtlab.training.failures import DivergedError
from mtlab.training.history import History
from mtlab.training.interrupt import Interrupted, Interrupts
from mtlab.training.optimisation.optimiser import adamw, gradient_norms, groups, load_state, set_rate, state_tensors
from mtlab.training.optimisation.schedule import rate
from mtlab.training.progress import Progress
from mtlab.training.resume import ANEW, left
from mtlab.training.steps import train_step

LOG_EVERY = 20  #: steps; the loss is read from the device no more often


@dataclass(frozen=True)
class Parts:
    """What a run is trained with."""

    model: TaskModel
    training: Loader | StreamingLoader
    validation: Loader
    train: TrainConfig
    metrics: MetricsConfig
    runtime: Runtime
    seed: int
    tower_scales: Mapping[str, float]  #: learning-rate multiplier of each trained tower
    trace: Trace | None = None  #: looks at the model at a few steps; of several processes, the leader's alone
    group: ProcessGroup = SINGLE_PROCESS  #: the processes that train the model together; the leader writes


class Loop:
    """Trains a model from its last checkpoint on, and leaves metrics and checkpoints in the run directory.

    Args:
        parts: model, data and settings.
        folder: the run directory.
        interrupts: asked between steps whether to stop.

    """

    def __init__(self, parts: Parts, folder: Path, interrupts: Interrupts) -> None:
        self.parts = parts
        self.interrupts = interrupts
        self.last = folder / "checkpoints" / "last.safetensors"
        self.best = folder / "checkpoints" / "best.safetensors"
        self.history = History(folder / "metrics.jsonl")
        self.groups = groups(parts.model, parts.train, parts.tower_scales)
        self.optimiser = adamw(parts.model, self.groups, parts.train)
        self.steps = parts.train.length.steps or 0
        self.progress = Progress()
        self.saved = 0
        self.traced = recorded_steps(self.steps) if parts.trace else frozenset()
        self.gradients: dict[str, torch.Tensor] = {}
        self.losses = torch.zeros((), device=parts.runtime.device)

    def run(self) -> Progress:
        """Train to the end.

        Raises:
            Interrupted: a signal asked for it; the last checkpoint is at the last finished step.
            DivergedError: a loss is not a finite number.

        """
        self._resume()
        with self.interrupts.deferred():
            try:
                self._train()
                if self.parts.group.is_main:
                    self.history.settle(_say)
            except Interrupted:
                self._save()
                self.parts.group.barrier()
                raise
        return self.progress

    def _train(self) -> None:
        progress, train, batches = self.progress, self.parts.train, self._batches()
        self.parts.model.train()
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
                self._save()
            if done:
                return
            self._step(next(batches))
            # At once, so that no checkpoint is ahead of it: the gradient would be lost.
            if progress.step in self.traced:
                self._record(progress.step)

    def _record(self, step: int) -> None:
        """Look at the model as it is after this step, unless that is known already."""
        trace = self.parts.trace
        if trace is not None and step == self.progress.step and step not in trace:
            trace.record(step, self.gradients)

    def _step(self, micro_batches: tuple[Batch, ...]) -> None:
        progress, train, started = self.progress, self.parts.train, time.perf_counter()
        factor = rate(progress.step, self.steps, train)
        set_rate(self.optimiser, self.groups, train.lr * factor)
        self.gradients = {}
        self.losses += train_step(
            self.parts.model,
            self.optimiser,
            micro_batches,
            self.parts.runtime,
            seed=self.parts.seed,
            step=progress.step,
            clip=train.clip,
            watch=self._watch if progress.step + 1 in self.traced else lambda: None,
            group=self.parts.group,
        )
        progress.step += 1
        progress.loss_steps += 1
        log = progress.step % LOG_EVERY == 0 or progress.step == self.steps
        if log:
            self._read_losses()
        progress.seconds += time.perf_counter() - started
        if log:
            progress.train_loss = progress.loss_sum / progress.loss_steps
            progress.loss_sum, progress.loss_steps = 0.0, 0
            self.losses.zero_()
            self._tell({"train/loss": progress.train_loss, "train/lr": train.lr * factor})

    def _tell(self, values: Mapping[str, float]) -> None:
        if self.parts.group.is_main:
            self.history.add(self.progress.step, self.progress.seconds, values)

    def _watch(self) -> None:
        self.gradients = gradient_norms(self.groups, self.optimiser.param_groups)

    def _read_losses(self) -> None:
        """Wait for the device and check what it summed up."""
        self.progress.loss_sum = self.losses.item()
        if not math.isfinite(self.progress.loss_sum):
            raise DivergedError(f"the training loss is {self.progress.loss_sum} at step {self.progress.step}")

    def _validate(self) -> None:
        parts, progress = self.parts, self.progress
        self._read_losses()
        self._align()
        parts.model.eval()
        judged = evaluate(
            ForwardContext(parts.model, parts.runtime, group=parts.group),
            parts.validation,
            evaluation_batch(parts.train, parts.group.world_size),
            self.interrupts.check,
        )
        parts.model.train()
        values = judged.metrics("val")
        if not math.isfinite(judged.loss):
            raise DivergedError(f"the validation loss is {judged.loss} at step {progress.step}")
        if parts.metrics.choose not in values:
            advice = nearest(parts.metrics.choose, values)
            raise UserError(f"no metric {parts.metrics.choose!r}; {advice}", key="metrics.choose")
        self._tell(values)
        better = progress.update(values[parts.metrics.choose], parts.metrics.mode, parts.train.patience)
        if better and parts.group.is_main:
            chosen = {"step": progress.step, "metric": parts.metrics.choose, "value": progress.best}
            progress.best_checksum = checkpoints.save(self.best, checkpoints.model_tensors(parts.model), chosen)
        print(self._line(values), flush=True)

    def _line(self, values: Mapping[str, float]) -> str:
        progress = self.progress
        shown = {"train/loss": progress.train_loss, **headline(values)}
        words = [f"{name} {value:.4f}" for name, value in shown.items() if value is not None]
        words.append(f"best {progress.best or 0:.4f} at {progress.best_step}")
        words.append(f"{progress.step * self.parts.train.batch / max(progress.seconds, 1e-9):.0f} examples/s")
        return f"step {progress.step}/{self.steps}: {', '.join(words)}"

    def _save(self) -> None:
        self._read_losses()
        self._align()
        self.saved = self.progress.step
        if not self.parts.group.is_main:
            return
        model = {f"model/{name}": tensor for name, tensor in checkpoints.model_tensors(self.parts.model).items()}
        state = {f"optimiser/{key}": held for key, held in state_tensors(self.optimiser, self.groups).items()}
        checkpoints.save(self.last, model | state | self._recorded(), asdict(self.progress))

    def _align(self) -> None:
        """Take over what the leader's share taught buffers, such as the statistics of a batch norm that is trained."""
        self.parts.group.broadcast([*self.parts.model.buffers()])

    def _recorded(self) -> dict[str, torch.Tensor]:
        """Copy metrics and trace, so that their files can be put right when they were damaged."""
        trace = self.parts.trace.tensors() if self.parts.trace is not None else {}
        return {"history/lines": self.history.tensor(), **{f"trace/{name}": held for name, held in trace.items()}}

    def _resume(self) -> None:
        """Go on from the last checkpoint; from the start if there is none, or none that can be gone on from.

        Of several processes the leader judges what there is, and the others do as it does.
        """
        group = self.parts.group
        if group.is_main:
            self._take_up()
        self.progress = group.broadcast_object(self.progress)
        if not group.is_main and self.progress.step:
            self._restore(checkpoints.load(self.last)[0])
        group.broadcast([*checkpoints.model_tensors(self.parts.model).values()])  # to the last bit, whatever drew them
        self.saved = self.progress.step
        self.losses.fill_(self.progress.loss_sum)

    def _restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        checkpoints.restore(self.parts.model, checkpoints.under("model", tensors))
        load_state(self.optimiser, self.groups, checkpoints.under("optimiser", tensors))

    def _take_up(self) -> None:
        """Take up what an earlier attempt left, metrics and trace included."""
        found = left(self.last, self.best, _say)
        try:
            if found is not None:
                self._restore(found.tensors)
                self.progress = found.progress
                _say(f"resuming after step {self.progress.step}/{self.steps}")
        except checkpoints.CorruptError as error:
            found = None
            _say(f"{error}: set aside as {checkpoints.set_aside(self.last).name}; {ANEW}")
        recorded = {} if found is None else found.tensors
        self.history.restore(recorded.get("history/lines"), self.progress.step, _say)
        if self.parts.trace is not None:
            self.parts.trace.restore(checkpoints.under("trace", recorded), self.progress.step, _say)

    def _batches(self) -> Iterator[tuple[Batch, ...]]:
        train, ranks, task = self.parts.train, self.parts.group.ranks, self.parts.model.task
        micro = train.micro_batch or train.batch
        if task.contrasts(task.config, train.batch) is not None:
            micro //= ranks.world_size  # each process has its share of every contrast
        steps = self.parts.training.steps(self.parts.seed, train.batch, micro, self.progress.step, ranks)
        if self.parts.runtime.device.type != "cuda":
            return steps
        return prefetch(tuple(batch.pin_memory() for batch in micro_batches) for micro_batches in steps)


def _say(line: str) -> None:
    print(line, flush=True)


def headline(metrics: Mapping[str, float]) -> dict[str, float]:
    """Choose the metrics to be shown in a line: of no family, and each by its own name alone."""
    return {name: value for name, value in metrics.items() if name.count("/") == 1 and not name.endswith("/primary")}
