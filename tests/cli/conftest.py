"""Studies that take seconds, and the command line as users call it: a process of its own."""

from collections.abc import Callable
from pathlib import Path

import calling
import pytest
from calling import Command
from tiny_study import write_study


@pytest.fixture
def study(tmp_path: Path) -> Callable[[str], Path]:
    """Write a study of tiny runs and return its path."""

    def write(text: str, name: str = "study") -> Path:
        return write_study(tmp_path, text, name)

    return write


@pytest.fixture
def mtlab() -> Command:
    """Run `mtlab ARGUMENTS` and return its exit code and output."""
    return calling.mtlab
