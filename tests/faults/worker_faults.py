"""Faults that strike one run: its worker, its files, its disk."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from patience import wait_for
from stage import Report, Stage, damage, flip, read, worker

from mtlab.processes import EXIT_DISK, EXIT_INPUT_ERROR

# The worker itself


def killed(stage: Stage) -> Report:
    """Kill -9 up to three times, at random moments."""
    injected = [stage.killed_at_a_random_moment() for _ in range(3)]
    return stage.compare(injected=any(injected))


def asked_to_stop(stage: Stage) -> Report:
    """SIGTERM or Ctrl-C up to three times, at random moments: it says that it can be gone on with, and can."""
    codes = []
    for _ in range(3):
        process = stage.start()
        wait_for(lambda: (stage.run / "lock.json").exists() or not process.is_alive())  # noqa: B023
        process.join(stage.moment())
        if process.is_alive():
            os.kill(process.pid or 0, stage.dice.choice([signal.SIGTERM, signal.SIGINT]))
        process.join()
        codes.append(process.exitcode)
    if not set(codes) <= {0, 130, 143}:
        return Report(True, explained=False, note=f"exit codes {codes}: {stage.said()[-400:]}")
    return stage.compare(injected=any(codes), explained="goes on from here")


def loss_is_nan(stage: Stage) -> Report:
    """The loss is not a number from a random step on: the run fails as such, and has no result."""
    code = stage.attempt(_strike_step, "nan", stage.dice.randrange(20))
    return _failed_then_compared(stage, code, 3, "nan", "loss is nan")


def out_of_memory(stage: Stage) -> Report:
    """No more memory can be had from a random step on: the address space is capped."""
    code = stage.attempt(_strike_step, "memory", stage.dice.randrange(20))
    return _failed_then_compared(stage, code, 3, "oom", "out of memory")


def _failed_then_compared(stage: Stage, code: int | None, wanted: int, kind: str, said: str) -> Report:
    failure = read(stage.run / "failure.json") if (stage.run / "failure.json").exists() else {}
    if code != wanted or failure.get("kind") != kind or (stage.run / "result.json").exists():
        return Report(True, explained=False, note=f"exit {code}, {failure.get('kind')}: {stage.said()[-400:]}")
    return stage.compare(injected=True, explained=said)


def _strike_step(what: str, step: int) -> None:
    import torch

    from mtlab.training import loop

    real = loop.train_step

    def stepping(*args: Any, **kwargs: Any) -> torch.Tensor:
        if kwargs["step"] >= step:
            if what == "nan":
                return real(*args, **kwargs) * torch.nan
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, -1))
            try:
                torch.empty(2**28).fill_(1.0)  # as a larger batch would ask for
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        return real(*args, **kwargs)

    loop.train_step = stepping


def clock_jumps(stage: Stage) -> Report:
    """The wall clock jumps by up to ten years, to and fro, at every look; the worker is killed in between."""
    process = stage.start(_strike_clock, stage.dice.randrange(10**6))
    wait_for(lambda: (stage.run / "lock.json").exists() or not process.is_alive())
    process.join(stage.moment())
    process.kill()
    process.join()
    code = stage.attempt(_strike_clock, stage.dice.randrange(10**6))
    return stage.compare(injected=True, explained=code == 0)


def _strike_clock(seed: int) -> None:
    import random

    dice, real = random.Random(seed), time.time
    time.time = lambda: real() + dice.uniform(-1, 1) * 10 * 365 * 86400


def lock_damaged(stage: Stage) -> Report:
    """Killed, and what it left in its lock is rubbish: taken over after a while."""
    injected = stage.killed_at_a_random_moment()
    lock = stage.run / "lock.json"
    if injected and lock.exists():
        damage(lock, stage.dice)
    code = stage.attempt(strike_patience)
    return stage.compare(injected=injected, explained=code == 0)


def strike_patience() -> None:
    """Let the worker take over locks without heartbeats after a second."""
    from mtlab.runs.lock import RunLock
    from mtlab.training import worker as module

    module.RunLock = partial(RunLock, interval=0.1, patience=1.0)  # type: ignore[misc, assignment]


# Its files


def file_damaged(name: str, stage: Stage) -> Report:
    """Killed after its first checkpoint, and a file that it left is damaged: a bit, cut, zeros, rubbish, lost."""
    path = stage.run / name
    if not stage.killed_at_a_random_moment(after=stage.last) or not path.exists() or not path.stat().st_size:
        return stage.compare(injected=False)
    kept = _kept_lines(stage) if name == "metrics.jsonl" else b"\0"
    before, unknown = path.read_bytes(), path == stage.last or _knows_no_best(stage)
    how = damage(path, stage.dice)
    # A checkpoint that is not there was never written, as far as anybody can know. Metrics beyond the last checkpoint
    # are cut away, damaged or not, as their steps repeat. Zeros over zeros are no damage.
    silent = unknown if how == "lost" else path.read_bytes() == before or path.read_bytes().startswith(kept)
    report = stage.compare(injected=True)
    if report.note or silent or any(word in stage.said() for word in ("set aside", "restored", "is lost")):
        return report
    return Report(True, explained=False, note=f"{how}: {stage.said()[-400:]}")


def _knows_no_best(stage: Stage) -> bool:
    """Was the best checkpoint, if there is one, written after the last one?"""
    from mtlab.runs import checkpoints

    return not checkpoints.load(stage.last)[1]["best_step"]


def _kept_lines(stage: Stage) -> bytes:
    """Read the metrics that the last checkpoint holds."""
    from mtlab.runs import checkpoints

    return checkpoints.load(stage.last)[0]["metrics/lines"].numpy().tobytes()


def finished_file_damaged(stage: Stage) -> Report:
    """A bit of any file of a finished run: refused, set aside by `mtlab clean`, trained again."""
    from mtlab.runs.cleanup import find_in_store
    from mtlab.runs.store import Store

    stage.attempt()
    (stage.folder / "store.json").write_text('{"format": 1}')
    names = sorted(path for path in stage.run.rglob("*") if path.is_file() and path.name != "log.txt")
    path = stage.dice.choice(names)
    if path.name == "lock.json":
        return Report(False)
    kept = (stage.run / "config.json").read_bytes()
    flip(path, stage.dice)
    found = [item for item in find_in_store(Store.open(stage.folder)).items if item.kind == "damaged"]
    if len(found) != 1 or path.name not in found[0].why:
        return Report(True, explained=False, note=f"{path.name}: {found}")
    found[0].remove()
    stage.run.mkdir()
    (stage.run / "config.json").write_bytes(kept)
    return stage.compare(injected=True)


def cache_damaged(stage: Stage) -> Report:
    """The expert cache: a file of a finished entry, or of one in the making, is damaged."""
    cache = stage.folder / "cache"
    unfinished = stage.dice.random() < 0.5
    before = os.environ["MTLAB_CACHE"]
    os.environ["MTLAB_CACHE"] = str(cache)
    try:
        if unfinished:
            process = stage.start()
            wait_for(lambda: bool(list(cache.glob("experts/*/chunks/*.safetensors"))) or not process.is_alive())
            process.kill()
            process.join()
            paths = list(cache.glob("experts/*/chunks/*.safetensors"))
        else:
            worker(stage.run, stage.log, _strike_step, "nan", 0).join()  # fills the cache, trains no further
            paths = [*cache.glob("experts/*/features.bin"), *cache.glob("experts/*/index.json")]
        injected = bool(paths)
        if injected:
            damage(stage.dice.choice(sorted(paths)), stage.dice)
        stage.log.unlink(missing_ok=True)
        return stage.compare(injected=injected)
    finally:
        os.environ["MTLAB_CACHE"] = before


# Its disk


def write_fails(number: int, stage: Stage) -> Report:
    """From a random write on, every one fails (disk full, or file system read-only): told, and gone on with later."""
    at = stage.dice.randrange(90)
    code = stage.attempt(_strike_writes, number, at)
    if code == 0:
        return stage.compare(injected=False)
    word, expected = ("full", EXIT_DISK) if number == errno.ENOSPC else ("read-only", EXIT_INPUT_ERROR)
    if code != expected or word not in stage.said():
        return Report(True, explained=False, note=f"write {at}: exit {code}: {stage.said()[-600:]}")
    return stage.compare(injected=True, explained=word)


class _Failing:
    """The module `os` as `mtlab.files` sees it: from the n-th call on that writes, none succeeds."""

    WRITES = ("fsync", "replace", "write", "rename")

    def __init__(self, number: int, at: int) -> None:
        self.number, self.left = number, at

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.WRITES:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise OSError(self.number, os.strerror(self.number))
            return real(*args, **kwargs)

        return call


def _strike_writes(number: int, at: int) -> None:
    from mtlab import files

    files.os = _Failing(number, at)  # type: ignore[assignment]
