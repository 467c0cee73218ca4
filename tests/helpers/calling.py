"""Calling the command line: in a process of its own, as users do, and in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mtlab.cli import main

Finished = subprocess.CompletedProcess[str]
Command = Callable[..., Finished]  #: `mtlab`
Told = Callable[..., tuple[int, str, str]]  #: `here`: exit code, output, errors


def mtlab(*words: object, cwd: Path | None = None, seconds: float = 250, **environment: str) -> Finished:
    """Run `mtlab WORDS` in a process of its own; return its exit code and output."""
    return subprocess.run(
        [sys.executable, "-m", "mtlab", *map(str, words)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
        timeout=seconds,
    )


def mtlab_at(folder: Path, *words: object) -> Finished:
    """Run `mtlab WORDS` in a folder, with its store there."""
    return mtlab(*words, cwd=folder, MTLAB_STORE=str(folder / "runs"))


def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: str) -> Told:
    """Make a call that runs `mtlab COMMAND WORDS` in this process."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mtlab", *command, *map(str, words)])
        capsys.readouterr()
        code = main()
        out, err = capsys.readouterr()
        return code, out, err

    return call
