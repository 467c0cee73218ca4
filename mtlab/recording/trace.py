"""How what a model draws on evolves: the averages of a few validation examples at a few steps of training.

`trace.safetensors` is written anew at each of these steps, and cut back to the checkpoint when a run resumes, as the
metrics are. Shapes: S recorded steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mtlab.managers.base import Modality
from mtlab.recording.averages import about
from mtlab.runs import checkpoints

EXAMPLES = 32  #: few enough to cost three percent of the shortest recipe
STEPS = "steps"


def recorded_steps(last: int) -> frozenset[int]:
    """Choose the steps: 0, then 1, 2, 5, 10, 20, 50, … and the last one."""
    spaced = {digit * 10**power for power in range(len(str(last))) for digit in (1, 2, 5)}
    return frozenset({0, last, *(step for step in spaced if step < last)})


class Trace:
    """The recorded steps of a run, on disk as soon as they are known.

    Args:
        path: `trace.safetensors` of the run.
        measure: looks at the model as it is now, see `averages`; it must leave the training as if it had not.
        levels: the offered levels, 1-based.
        examples: how many each step is averaged over.

    """

    def __init__(
        self,
        path: Path,
        measure: Callable[[], Mapping[str, Tensor]],
        levels: Mapping[Modality, Sequence[int]],
        examples: int,
    ) -> None:
        self.path = path
        self.measure = measure
        self.levels = levels
        self.examples = examples
        self.rows: dict[int, dict[str, Tensor]] = {}

    def __contains__(self, step: int) -> bool:
        return step in self.rows

    def restore(self, kept: Mapping[str, Tensor], step: int, tell: Callable[[str], None]) -> None:
        """Forget what came after a checkpoint, and put right what came before.

        Args:
            kept: what `tensors` gave when the checkpoint was written; empty: there is none, or it is of an older mtlab.
            step: of the checkpoint.
            tell: is told if the file was damaged or lost.

        """
        problem = ""
        try:
            there, _ = checkpoints.load(self.path)
        except FileNotFoundError:
            there, problem = {}, f"{self.path.name} was lost"
        except checkpoints.CorruptError as error:
            there, problem = {}, f"{error}: set aside as {checkpoints.set_aside(self.path).name}"
        self.rows = _rows(kept or there, step)
        if self.rows and (problem or there.keys() != kept.keys() or len(there[STEPS]) != len(self.rows)):
            self._write()
        if problem and (self.rows or "lost" not in problem):
            tell(f"{problem}; " + ("restored from the last checkpoint" if kept else "it is recorded from here on"))

    def tensors(self) -> dict[str, Tensor]:
        """Return the rows so far as arrays, [S, …] each, with the steps; none if there is no row."""
        steps = sorted(self.rows)
        known = {name: held for step in steps for name, held in self.rows[step].items()}
        stacked = {
            name: torch.stack([self.rows[step].get(name, torch.full_like(like, torch.nan)) for step in steps])
            for name, like in sorted(known.items())
        }
        return {STEPS: torch.tensor(steps, dtype=torch.int64), **stacked} if steps else {}

    def record(self, step: int, gradients: Mapping[str, Tensor]) -> None:
        """Add a step with what `measure` gives, and write the file; what is not known at a step is NaN there."""
        found = {**self.measure(), **gradients}
        self.rows[step] = _known({name: held.detach().float().cpu() for name, held in found.items()})
        self._write()

    def _write(self) -> None:
        known = {name: held for step in sorted(self.rows) for name, held in self.rows[step].items()}
        checkpoints.save(self.path, self.tensors(), about(known, self.levels, self.examples))


def _rows(tensors: Mapping[str, Tensor], last: int) -> dict[int, dict[str, Tensor]]:
    """Take the rows up to a step out of what `Trace.tensors` gave."""
    steps = tensors[STEPS].tolist() if tensors else []
    arrays = {name: values for name, values in tensors.items() if name != STEPS}
    return {
        step: _known({name: values[place].clone() for name, values in arrays.items()})
        for place, step in enumerate(steps)
        if step <= last
    }


def _known(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: held for name, held in values.items() if not held.isnan().all()}
