"""The oracle of the bad-input campaign: it calls the command line in this process, and says what it may not do.

Not allowed: a traceback, more than one line on stderr beside the exit code 2, more than `SECONDS` of computing.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import typer

from mtlab.cli import main as command_line

typer.main.get_command = cache(typer.main.get_command)  # else built anew for every input: a tenth of a second

SECONDS = 30  #: of computing that one input may take


@dataclass
class Judge:
    """Calls the command line, and remembers what it should not have done."""

    folder: Path
    inputs: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)  #: what is wrong → the first input that showed it

    def add(self, other: Judge) -> None:
        """Take in what another has seen."""
        self.inputs += other.inputs
        self.codes += other.codes
        self.problems = {**other.problems, **self.problems}

    def call(self, *words: object, shown: object = None) -> None:
        """Call `mtlab WORDS`; `shown` is what to show of the input if it goes wrong."""
        self.inputs += 1
        out, err = io.StringIO(), io.StringIO()
        words = tuple(str(word) for word in words)
        try:
            with limited(), redirect_stdout(out), redirect_stderr(err), arguments(words):
                code = command_line()
        except Exception as error:
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "mtlab" in frame.filename]
            where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
            self._problem(f"{type(error).__name__} at {where}", words, (str(error)[:300], shown))
            return
        self.codes[code] += 1
        lines = err.getvalue().strip().splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        if code == 2 and (len(errors) != 1 or lines[-1] != errors[0]):  # before it, progress may be told
            self._problem(f"exit 2 with {len(lines)} lines: {lines[-2:]}", words, shown)
        elif code not in (0, 1, 2):
            self._problem(f"exit {code}: {lines[-1:]}", words, shown)
        elif "Traceback" in err.getvalue():
            self._problem(f"exit {code} with a traceback: {lines[-1:]}", words, shown)

    @contextmanager
    def at(self, folder: Path) -> Iterator[None]:
        """Work in a folder within the block."""
        before = os.getcwd()
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)

    def check(self, what: str, *, fine: bool, shown: object) -> None:
        """Note a problem unless all is fine."""
        if not fine:
            self._problem(what, (), shown)

    def _problem(self, what: str, words: tuple[str, ...], shown: object) -> None:
        self.problems.setdefault(what, f"{' '.join(words)[:300]} | {str(shown)[:1500]}")


def quiet(*words: object) -> None:
    """Call `mtlab WORDS`, which must go well, and print nothing."""
    with redirect_stdout(io.StringIO()), arguments(tuple(map(str, words))):
        assert command_line() == 0, words


class HangError(Exception):
    """It took too long."""


@contextmanager
def limited() -> Iterator[None]:
    """Limit computing time inside."""

    def late(*_: object) -> None:
        raise HangError(f"more than {SECONDS} s of computing")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def arguments(words: tuple[str, ...]) -> Iterator[None]:
    """Set the command line's words."""
    before = sys.argv
    sys.argv = ["mtlab", *words]
    try:
        yield
    finally:
        sys.argv = before
