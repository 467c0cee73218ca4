"""How the layers' weights evolve: the averages of a few validation examples at a few steps of training.

`trace.safetensors` is rewritten at each of these steps, and cut back to the checkpoint when a run resumes, as the
metrics are. Shapes: S recorded steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mtlab.data.batches import Loader
from mtlab.managers.base import Modality
from mtlab.model.forward import Runtime
from mtlab.model.network import VisionLanguageModel
from mtlab.recording import probe
from mtlab.recording.averages import describe_averages, record_averages
from mtlab.runs import checkpoints

EXAMPLES = 32  #: few enough to cost three percent of the shortest recipe
STEPS = "steps"


def recorded_steps(last: int) -> frozenset[int]:
    """Choose the steps: 0, then 1, 2, 5, 10, 20, 50, … and the last one."""
    spaced = {digit * 10**power for power in range(len(str(last))) for digit in (1, 2, 5)}
    return frozenset({0, last, *(step for step in spaced if step < last)})


@dataclass(eq=False)
class Trace:
    """The recorded steps of a run, on disk as soon as they are known."""

    path: Path  #: `trace.safetensors` of the run
    model: VisionLanguageModel  #: recorded during training, without any effect on it
    runtime: Runtime
    loader: Loader  #: the validation split; evenly spread examples of it are recorded
    batch: int  #: examples in one forward pass
    levels: Mapping[Modality, Sequence[int]]  #: the offered levels, 1-based
    rows: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.examples = probe.sample_evenly(self.loader.examples, EXAMPLES)

    def __contains__(self, step: int) -> bool:
        return step in self.rows

    def restore(self, saved: Mapping[str, Tensor], log: Callable[[str], None]) -> None:
        """Remove the steps after a checkpoint, and repair those before it.

        Args:
            saved: what `tensors` returned when the checkpoint was written; empty if there is none.
            log: prints a line if the file was damaged or lost.

        """
        problem, content = "", dict[str, Tensor]()
        try:
            content, _ = checkpoints.load(self.path)
        except FileNotFoundError:
            problem = f"{self.path.name} was lost"
        except checkpoints.CorruptError as error:
            problem = f"{error}: set aside as {checkpoints.set_aside(self.path).name}"
        self.rows = _split_steps(saved)
        unchanged = content.keys() == saved.keys() and (not saved or torch.equal(content[STEPS], saved[STEPS]))
        if self.rows and (problem or not unchanged):
            self._write()
        if problem and (self.rows or "lost" not in problem):
            log(f"{problem}; " + ("restored from the last checkpoint" if saved else "it is recorded from here on"))

    def tensors(self) -> dict[str, Tensor]:
        """Return the rows so far as arrays, [S, …] each, with the steps; none if there is no row."""
        steps = sorted(self.rows)
        known = {name: held for step in steps for name, held in self.rows[step].items()}
        stacked: dict[str, Tensor] = {}
        for name, like in sorted(known.items()):
            unknown = torch.full_like(like, torch.nan)
            stacked[name] = torch.stack([self.rows[step].get(name, unknown) for step in steps])
        return {STEPS: torch.tensor(steps, dtype=torch.int64), **stacked} if steps else {}

    def record(self, step: int, gradients: Mapping[str, Tensor]) -> None:
        """Record the model as it is now, and write the file; what is not known at a step is NaN there.

        Args:
            step: of training.
            gradients: norms, by part of the model.

        """
        device = self.runtime.device
        with probe.recording_mode(self.model, device):
            recorder = partial(probe.record_batch, self.model, self.runtime)
            averages = record_averages(recorder, self.loader, self.examples, self.batch, device, self.levels)
        self.rows[step] = _drop_unknown(
            {name: held.detach().float().cpu() for name, held in {**averages, **gradients}.items()}
        )
        self._write()

    def _write(self) -> None:
        known = {name: held for step in sorted(self.rows) for name, held in self.rows[step].items()}
        checkpoints.save(self.path, self.tensors(), self._describe(known))

    def _describe(self, arrays: Mapping[str, Tensor]) -> dict[str, object]:
        return describe_averages(arrays, self.levels, len(self.examples), self.model.encoder.first_layer)


def _split_steps(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Undo `Trace.tensors`: step → arrays."""
    steps = tensors[STEPS].tolist() if tensors else []
    arrays = {name: values for name, values in tensors.items() if name != STEPS}
    return {
        step: _drop_unknown({name: values[place].clone() for name, values in arrays.items()})
        for place, step in enumerate(steps)
    }


def _drop_unknown(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: held for name, held in values.items() if not held.isnan().all()}
