"""Studies that take seconds, and the command line as users call it: a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_study import write_study

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def study(tmp_path: Path) -> Callable[[str], Path]:
    """Write a study of tiny runs and return its path."""

    def write(text: str, name: str = "study") -> Path:
        return write_study(tmp_path, text, name)

    return write


@pytest.fixture
def mtlab() -> Command:
    """Run `mtlab ARGUMENTS` and return its exit code and output."""

    def call(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mtlab", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=250, check=False
        )

    return call
