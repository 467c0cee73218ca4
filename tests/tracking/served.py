"""A W&B server on loopback, as the tests see it, and a key that it takes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Server:
    """A running W&B server and what it holds."""

    path: Path
    process: subprocess.Popen[str]
    url: str

    def runs(self) -> dict[str, Any]:
        """By the name that is displayed."""
        held = json.loads(self.path.read_text())["runs"]
        return {run["displayName"]: run for run in held.values()}

    def steps(self, name: str) -> list[int]:
        """The steps of a run's history, in the order of its lines."""
        lines = self.runs()[name]["lines"]
        return [json.loads(lines[number])["_step"] for number in sorted(lines, key=int)]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
