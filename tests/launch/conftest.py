"""A real Slurm cluster of this machine, and stand-ins for Slurm's programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import cluster, running_cluster  # noqa: F401 - fixtures

Program = Callable[[str, str], Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put programs of a test's own on the path: name, shell script → the file in which each call is a line."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def write(name: str, script: str) -> Path:
        calls = tmp_path / f"{name}.calls"
        calls.touch()
        (folder / name).write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{script}\n')
        (folder / name).chmod(0o755)
        return calls

    return write
