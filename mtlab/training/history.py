"""`metrics.jsonl`: one line per logged step, cut back to the checkpoint when a run resumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mtlab import files


class History:
    """The metrics of a run, on disk as soon as they are known.

    Args:
        path: `metrics.jsonl` of the run.

    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Append a line; `seconds` is the training time so far."""
        files.append_line(self.path, {"step": step, "seconds": round(seconds, 3), **values})

    def cut(self, step: int) -> None:
        """Forget what came after `step`, and half a line, if the last writer died there."""
        kept = [line for line in files.read_jsonl(self.path) if line["step"] <= step]
        files.write_text(self.path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
