"""`metrics.jsonl`: one line per logged step, cut back to the checkpoint when a run resumes, and repaired from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mtlab import files
from mtlab.runs import checkpoints


class MetricsLog:
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

    def restore(self, saved: Tensor | None, log: Callable[[str], None]) -> None:
        """Remove the lines after a checkpoint, and repair those before it.

        Args:
            saved: what `tensor` returned when the checkpoint was written; None if there is none.
            log: prints a line if the file was damaged or lost.

        """
        self.lines = bytearray(b"" if saved is None else saved.numpy().tobytes())
        content = self._read()
        if not content.startswith(self.lines):
            self._repair(log)
        elif len(content) > len(self.lines):
            files.write_bytes(self.path, self.lines)

    def verify(self, log: Callable[[str], None]) -> None:
        """Repair the file at the end of a run, if it was damaged meanwhile, and flush it to the disk.

        Lines are not flushed one by one, because the checkpoint for resuming also holds them. A finished run has none.
        """
        if self.lines and self._read() != self.lines:
            self._repair(log)
        if self.lines:
            files.sync(self.path)

    def _read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    def _repair(self, log: Callable[[str], None]) -> None:
        aside = f", set aside as {checkpoints.set_aside(self.path).name}" if self.path.exists() else ""
        files.write_bytes(self.path, self.lines)
        log(f"{self.path.name} was damaged or cut{aside}: its lines are restored")
