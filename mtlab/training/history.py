"""`metrics.jsonl`: one line per logged step, cut back to the checkpoint when a run resumes, and mended from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mtlab import files
from mtlab.runs import checkpoints

Tell = Callable[[str], None]  #: is given a line for the log


class History:
    """The metrics of a run, on disk as soon as they are known.

    Args:
        path: `metrics.jsonl` of the run.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = bytearray()  #: what the file should hold

    def add(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Append a line; `seconds` is the training time so far."""
        line = {"step": step, "seconds": round(seconds, 3), **values}
        files.append_line(self.path, line)
        self.lines += files.json_line(line)

    def tensor(self) -> Tensor:
        """Return the lines so far as bytes, uint8, for the checkpoint."""
        return torch.tensor(self.lines, dtype=torch.uint8) if self.lines else torch.zeros(0, dtype=torch.uint8)

    def restore(self, kept: Tensor | None, step: int, tell: Tell) -> None:
        """Forget what came after a checkpoint, and put right what came before.

        Args:
            kept: what `tensor` gave when the checkpoint was written; None: there is none, or it is of an older mtlab.
            step: of the checkpoint.
            tell: is told if lines were damaged or lost.

        """
        if kept is None:
            rows = [row for row in files.read_jsonl(self.path) if isinstance(at := row.get("step"), int) and at <= step]
            self.lines = bytearray().join(map(files.json_line, rows))
            files.write_bytes(self.path, self.lines)
            return
        self.lines = bytearray(kept.numpy().tobytes())
        there = self._there()
        if not there.startswith(self.lines):
            self._mend(tell)
        elif len(there) > len(self.lines):
            files.write_bytes(self.path, self.lines)

    def settle(self, tell: Tell) -> None:
        """See that the file holds what it should, at the end."""
        if self.lines and self._there() != self.lines:
            self._mend(tell)

    def _there(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    def _mend(self, tell: Tell) -> None:
        aside = f", set aside as {checkpoints.set_aside(self.path).name}" if self.path.exists() else ""
        files.write_bytes(self.path, self.lines)
        tell(f"{self.path.name} was damaged or cut{aside}: its lines are restored")
