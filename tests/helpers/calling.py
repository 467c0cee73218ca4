"""Calling the command line: in a process of its own, as users do, and in this one.

The process is a fresh fork of one that has imported torch, which saves seconds for each command. What importing does is
tested by processes that start from nothing: `test_package.py`, `test_terminal.py`, and every worker of a study.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from forking import CONTEXT

from mtlab.cli import main

Finished = subprocess.CompletedProcess[str]
Command = Callable[..., Finished]  #: `mtlab`
Told = Callable[..., tuple[int, str, str]]  #: `here`: exit code, output, errors


def mtlab(*words: object, cwd: Path | None = None, seconds: float = 250, **environment: str) -> Finished:
    """Run `mtlab WORDS` in a process of its own; return its exit code and output."""
    command = ["mtlab", *map(str, words)]
    with tempfile.TemporaryDirectory() as folder:
        streams = Path(folder, "stdout"), Path(folder, "stderr")
        place = str(cwd or Path.cwd())
        process = CONTEXT.Process(target=_call, args=(command, place, {**os.environ, **environment}, streams))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, seconds)
        out, errors = (stream.read_text() for stream in streams)
        return Finished(command, process.exitcode, out, errors)


def _call(command: list[str], folder: str, environment: dict[str, str], streams: tuple[Path, Path]) -> None:
    for number, stream in enumerate(streams, 1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.argv = command
    try:
        sys.exit(main())
    finally:
        atexit._run_exitfuncs()  # at its end, a forked process does not


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
