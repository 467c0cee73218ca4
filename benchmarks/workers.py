"""Two workers of one thread, or one worker of two: which trains more in all?

    python benchmarks/workers.py [--rounds 7] [--steps 20] [--width 64 256] [--quick]

Workers are processes that have started and warmed up; in turn, two of one thread make N steps each at the same time,
and one of two threads makes 2 N. Batches of 32 come from the expert cache, as in quickstart. Throughput is in wall
time, and means little where others are at work; what an example costs in CPU time means something there, too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from alternating import over_rounds
from cache import QUICKSTART, Training
from measurements import Row, measurements, parser
from processes import environment

BATCH = 32


class Worker:
    """A process that trains when it is told to."""

    def __init__(self, threads: int, width: int, cache: str) -> None:
        of_threads = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "MTLAB_CACHE": cache}
        line = [sys.executable, __file__, "--child", str(threads), "--width", str(width)]
        self.process: subprocess.Popen[str] = subprocess.Popen(
            line, env=environment() | of_threads, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer()

    def ask(self, steps: int) -> None:
        """Start some steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()

    def answer(self) -> tuple[float, float]:
        """Wait for them: seconds of CPU and of wall."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("done "):
                _, cpu, wall = line.split()
                return float(cpu), float(wall)
        raise RuntimeError("a worker has gone")

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def child(threads: int, width: int) -> None:
    """Be a worker: read numbers of steps, make them, tell what they took."""
    from alternating import measure

    torch.set_num_threads(threads)
    config: dict[str, Any] = {**QUICKSTART, "model": {**QUICKSTART["model"], "width": width}}
    training = Training(config, cached=True)
    training(3)
    print("done 0 0", flush=True)
    for line in sys.stdin:
        taken = measure(lambda steps=int(line): training(steps))
        print(f"done {taken.cpu} {taken.wall}", flush=True)


def together(workers: Sequence[Worker], steps: int) -> tuple[float, float]:
    """Let workers make steps at the same time; return examples per second of all, and CPU seconds of an example."""
    for worker in workers:
        worker.ask(steps)
    taken = [worker.answer() for worker in workers]
    examples = len(workers) * steps * BATCH
    return examples / max(wall for _, wall in taken), sum(cpu for cpu, _ in taken) / examples


def compare(width: int, rounds: int, steps: int) -> Row:
    """Measure one width."""
    with tempfile.TemporaryDirectory() as cache:
        pair, single = [Worker(1, width, cache) for _ in range(2)], [Worker(2, width, cache)]
        found = [(together(pair, steps), together(single, 2 * steps)) for _ in range(rounds)]
        for worker in (*pair, *single):
            worker.stop()
    speeds = [median(each[at][0] for each in found) for at in (0, 1)]
    return {
        "width": width,
        "throughput, 2 × 1 / 1 × 2": over_rounds(two[0] / one[0] for two, one in found),
        "CPU time of an example, 2 × 1 / 1 × 2": over_rounds(two[1] / one[1] for two, one in found),
        "2 × 1, examples/s": speeds[0],
        "1 × 2, examples/s": speeds[1],
    }


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, quick="the first width alone")
    arguments.add_argument("--steps", type=int, default=20, help="of each worker in a round")
    arguments.add_argument("--width", type=int, nargs="+", default=[64, 256])
    arguments.add_argument("--child", type=int, help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    if asked.child:
        child(asked.child, asked.width[0])
        return
    with measurements(asked) as tables:
        for width in asked.width[:1] if asked.quick else asked.width:
            tables.add("throughput", [compare(width, asked.rounds, asked.steps)])


if __name__ == "__main__":
    main()
