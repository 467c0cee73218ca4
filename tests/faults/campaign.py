"""The fault campaign: each fault many times, at random moments from a seed; `make faults` runs it and prints its table.

Every fault is a function of a stage. It strikes, everything is run again to the end, and what is there then is compared
with what an undisturbed run left: the same results, metrics, weights and recordings, bit for bit.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import disk_faults as disk
import launcher_faults as many
import look_faults as looks
import store_faults as store
import sweep_faults as sweep
import worker_faults as one
from stage import Report, Stage, undisturbed

Play = Callable[[Stage], Report]


@dataclass(frozen=True)
class Fault:
    """A row of the table."""

    name: str
    what: str  #: what is done, in a few words
    play: Play
    missing: Callable[[], str] = lambda: ""  #: why it cannot be played here; "" if it can
    share: float = 1.0  #: of the times that the others are played: it takes longer


NETWORK, POWER = partial(disk.no_mounting, "bindfs"), partial(disk.no_mounting, "mkfs.ext4")
LAST, BEST = "checkpoints/last.safetensors", "checkpoints/best.safetensors"

FAULTS = (
    Fault("kill -9 of the worker", "up to 3 times a run", one.killed),
    Fault("SIGTERM, Ctrl-C", "up to 3 times a run", one.asked_to_stop),
    Fault("last checkpoint damaged", "after a kill: bit, cut, zeros, rubbish, lost", partial(one.file_damaged, LAST)),
    Fault("best checkpoint damaged", "the same", partial(one.file_damaged, BEST)),
    Fault("metrics damaged", "the same, `metrics.jsonl`", partial(one.file_damaged, "metrics.jsonl")),
    Fault("trace damaged", "the same, `trace.safetensors`", partial(one.file_damaged, "trace.safetensors")),
    Fault("lock damaged", "the same, `lock.json`", one.lock_damaged),
    Fault("finished run damaged", "a bit of any of its files, parquet among them", one.finished_file_damaged),
    Fault("expert cache damaged", "chunk, features or index", one.cache_damaged),
    Fault("loss is NaN", "from a random step on", one.loss_is_nan),
    Fault("out of memory", "address space capped at a random step", one.out_of_memory),
    Fault("clock jumps", "± 10 years at every look, and a kill", one.clock_jumps),
    Fault("disk full, each kind of write", "ENOSPC from a random write on", partial(one.write_fails, errno.ENOSPC)),
    Fault("disk turns read-only", "EROFS from a random write on", partial(one.write_fails, errno.EROFS)),
    Fault("disk full, a real one", "a tmpfs filled at a random moment", disk.fills, disk.no_mounting),
    Fault("read-only store, a real one", "a tmpfs remounted", disk.turns_read_only, disk.no_mounting),
    Fault("network disk full", "the same below bindfs", partial(disk.fills, network=True), NETWORK),
    Fault("network disk hangs, and is back", "bindfs stopped for up to 3 s", disk.hangs, NETWORK),
    Fault("network disk hangs for good", "stopped until the run is killed", disk.hangs_until_killed, NETWORK),
    Fault("network disk vanishes", "bindfs killed (ENOTCONN)", disk.vanishes, NETWORK),
    Fault("power cut of a disk", "ext4 shut down, unflushed data lost", disk.power_cut, POWER),
    Fault("store copied in mid-run", "cp -r, cp -a or tar; both gone on with", store.copied),
    Fault("two stores merged", "cp -r, -a, -au; finished and cut off runs", store.merged),
    Fault("torch or mtlab upgraded in mid-run", "after a kill, its version differs", store.upgraded),
    Fault("kill -9 of the launcher", "up to 3 times a study", partial(many.killed, "launcher")),
    Fault("kill -9 of a worker", "up to 3 times a study, retried at once", partial(many.killed, "worker")),
    Fault("kill -9 of both", "up to 3 times a study", partial(many.killed, "both")),
    Fault("two launchers at once", "on one study; half the time one is killed", many.two_at_once),
    Fault("hung worker", "SIGSTOP; a limit on its time", many.hung),
    Fault("all locks damaged", "after all were killed", many.locks_damaged),
    Fault("host renamed", "up to 3 times a study, and a kill -9", many.host_renamed, many.no_renaming),
    Fault("kill -9 of the launcher at a look", "up to 4 times, seeds until decided", looks.killed),
    Fault("Ray node lost", "at a random moment of a study", many.node_lost, many.no_ray, 0.25),
    Fault("kill -9 of PostgreSQL", "in mid-sweep, and back", sweep.database_dies, sweep.no_database, 0.2),
)


@dataclass
class Tally:
    """What came of playing one fault."""

    fault: Fault
    reports: list[Report] = field(default_factory=list)
    skipped: str = ""
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """What was not as it should be."""
        return [
            f"{report.lost} lost, {report.wrong} wrong, told: {report.explained}: {report.note}"
            for report in self.reports
            if report.lost or report.wrong or not report.explained
        ]

    def row(self) -> str:
        """As a line of a Markdown table."""
        if self.skipped:
            return f"| {self.fault.name} | {self.fault.what} | – | – | – | – | {self.skipped} |"
        injected, told = (sum(getattr(each, name) for each in self.reports) for name in ("injected", "explained"))
        lost, wrong = (sum(getattr(each, name) for each in self.reports) for name in ("lost", "wrong"))
        return (
            f"| {self.fault.name} | {self.fault.what} | {len(self.reports)} | {injected} | {lost} | {wrong} "
            f"| {'all' if told == len(self.reports) else told} |"
        )


HEAD = "| fault | how | trials | injected | lost | wrong | reported |\n|---|---|---|---|---|---|---|"


@contextmanager
def theatre() -> Iterator[Callable[[Fault, int], Report]]:
    """Give a function that plays a fault once, with dice of a seed; the undisturbed run is trained first."""
    folder = Path(tempfile.mkdtemp(prefix="mtlab-faults-"))
    os.environ["MTLAB_CACHE"] = str(folder / "cache")
    try:
        expected, seconds = undisturbed(folder / "undisturbed")
        study, study_seconds = many.undisturbed(folder / "study")

        def play(fault: Fault, seed: int) -> Report:
            place = folder / f"{seed}"
            place.mkdir()
            try:
                dice = random.Random(f"{fault.name} {seed}")
                return fault.play(Stage(place, dice, expected, seconds, study, study_seconds))
            finally:
                shutil.rmtree(place, ignore_errors=True)

        yield play
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def campaign(faults: Sequence[Fault], times: int, seed: int, tell: Callable[[str], Any] = print) -> list[Tally]:
    """Play faults `times` times each; return what came of it."""
    tallies = []
    with theatre() as play:
        for fault in faults:
            tally, started = Tally(fault, skipped=fault.missing()), time.monotonic()
            for number in range(0 if tally.skipped else max(1, round(times * fault.share))):
                try:
                    tally.reports.append(play(fault, seed * 100_000 + number))
                except Exception as error:  # a fault that cannot be played is a problem to be told as well
                    tally.reports.append(Report(False, explained=False, note=f"{type(error).__name__}: {error}"))
            tally.seconds = time.monotonic() - started
            tallies.append(tally)
            tell(f"{tally.row()}  {tally.seconds:.0f} s")
            for problem in tally.problems:
                tell(f"    {problem}")
    return tallies


def main() -> int:
    """Run the campaign as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="how often each fault is played")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="faults whose names match this pattern")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    asked = parser.parse_args()
    chosen = [fault for fault in FAULTS if re.search(asked.only, fault.name)]
    tallies = campaign(chosen, asked.times, asked.seed, lambda line: print(line, flush=True))
    table = "\n".join([HEAD, *(tally.row() for tally in tallies)])
    print(f"\n{table}")
    if asked.out is not None:
        asked.out.write_text(table + "\n")
    return 1 if any(tally.problems for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
