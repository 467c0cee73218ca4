"""Where a fault is played: a run of its own, trained by real workers in other processes, beside an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from patience import wait_for
from tiny_runs import CONTEXT, outcome, run_folder

SETTINGS: dict[str, Any] = {"train": {"length": {"steps": 20}, "eval_every": 4, "checkpoint_every": 3}}

Strike = Callable[..., None]  #: changes something in the worker's own process, before it starts


@dataclass(frozen=True)
class Report:
    """What came of one fault, once all was run again to the end."""

    injected: bool  #: did the fault happen before the run was over?
    lost: int = 0  #: results that are not there
    wrong: int = 0  #: results, metrics, weights or recordings that differ from the undisturbed ones
    explained: bool = True  #: was it told, in a line and without a traceback?
    note: str = ""  #: what is the matter, if anything is


@dataclass
class Stage:
    """One fault's place."""

    folder: Path
    dice: random.Random
    undisturbed: Mapping[str, Any]  #: outcome of the same run without a fault
    seconds: float  #: from its first checkpoint to its end
    study: Mapping[str, bytes]  #: what the study of stand-ins leaves undisturbed
    study_seconds: float  #: from its launch to its end
    log: Path = field(init=False)
    run: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder / "log.txt"
        self.run = run_folder(self.folder, "cell", **SETTINGS)

    def start(self, strike: Strike | None = None, *arguments: Any) -> ForkServerProcess:
        """Start a worker on the run; `strike(*arguments)` comes first in its process."""
        return worker(self.run, self.log, strike, *arguments)

    def attempt(self, strike: Strike | None = None, *arguments: Any) -> int | None:
        """Run a worker to its end."""
        process = self.start(strike, *arguments)
        process.join()
        return process.exitcode

    @property
    def last(self) -> Path:
        """The last checkpoint."""
        return self.run / "checkpoints" / "last.safetensors"

    def killed_at_a_random_moment(self, *, after: Path | None = None) -> bool:
        """Kill -9 a worker somewhere in its run, once a file is there (its lock); False if it was over by then."""
        path = after or self.run / "lock.json"
        process = self.start()
        wait_for(lambda: path.exists() or not process.is_alive())
        process.join(self.moment())
        process.kill()
        process.join()
        return process.exitcode != 0

    def moment(self) -> float:
        """Draw how long to wait for a random moment of the training."""
        return self.dice.uniform(0, 0.8 * self.seconds)

    def said(self) -> str:
        """What the workers have printed."""
        return self.log.read_text() if self.log.exists() else ""

    def compare(self, *, injected: bool, explained: str | bool = True, but: Sequence[str] = ()) -> Report:
        """Train to the end, and compare with the undisturbed run.

        Args:
            injected: did the fault happen?
            explained: a word that the log must hold; or whether it did explain.
            but: what may differ, and is compared elsewhere.

        """
        code = self.attempt()
        said = self.said()
        heard = explained if isinstance(explained, bool) else explained in said or not injected
        clear = "Traceback" not in said
        if code != 0 or not (self.run / "result.json").exists():
            return Report(injected, lost=1, explained=heard and clear, note=f"exit {code}: {said[-400:]}")
        found = outcome(self.run)
        wrong = [key for key in self.undisturbed if key not in but and found[key] != self.undisturbed[key]]
        problems = [f"differs: {', '.join(wrong)}"] if wrong else []
        problems += [] if heard else [f"{explained!r} was not said: {said[-400:]}"]
        problems += [] if clear else [f"traceback: {said[-600:]}"]
        return Report(injected, wrong=len(wrong), explained=heard and clear, note="; ".join(problems))


def worker(run: Path, log: Path, strike: Strike | None = None, *arguments: Any) -> ForkServerProcess:
    """Train a run in another process, a fork of one in which torch is imported already; what it says goes to `log`."""
    process = CONTEXT.Process(target=_work, args=(str(run), str(log), dict(os.environ), strike, arguments))
    process.start()
    return process


def _work(run: str, log: str, environment: dict[str, str], strike: Strike | None, arguments: tuple[Any, ...]) -> None:
    from mtlab.training.worker import train

    os.environ.update(environment)
    with open(log, "ab", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    if strike is not None:
        strike(*arguments)
    code = train(Path(run))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def undisturbed(folder: Path) -> tuple[dict[str, Any], float]:
    """Train the run without a fault; return its outcome, and the seconds from its first checkpoint to its end."""
    taken = []
    for name in ("first", "second", "third", "fourth"):  # the first fills the cache
        run = run_folder(folder / name, "cell", **SETTINGS)
        process = worker(run, folder / f"{name}.txt")
        wait_for(lambda: (run / "checkpoints/last.safetensors").exists() or not process.is_alive())  # noqa: B023
        started = time.monotonic()
        process.join()
        assert process.exitcode == 0, (folder / f"{name}.txt").read_text()
        taken.append(time.monotonic() - started)
    return outcome(run), min(taken)  # the fewest: a moment that is drawn within them is seldom after the end


def flip(path: Path, dice: random.Random) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def damage(path: Path, dice: random.Random) -> str:
    """Damage a file in one of the ways that disks have; return how."""
    data = path.read_bytes()
    how = dice.choice(["bit", "cut", "zeros", "rubbish", "lost"])
    if how == "bit":
        flip(path, dice)
    elif how == "cut":
        path.write_bytes(data[: dice.randrange(len(data))])
    elif how == "zeros":
        place = dice.randrange(len(data))
        path.write_bytes(data[:place] + bytes(len(data[place : place + 512])) + data[place + 512 :])
    elif how == "rubbish":
        path.write_bytes(dice.randbytes(len(data)))
    else:
        path.unlink()
    return how


def read(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text())
