"""Does the managers' own gradient pay on whole training steps? It is measured beside that of autograd.

    python benchmarks/own_kernels.py [--rounds 7] [--quick] [--batch 4] [--device cuda]

Where each token has its own weights, `weighted_sum` has a backward pass that makes the normalised experts anew;
autograd would keep them. Steps are those of the quickstart, whose towers are cached, and of the published base size
with trained towers. Memory is that of the step's forward and backward pass, counted tensor by tensor as
`mtlab budget` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import alternate, median, ratio
from measurements import Row, measurements, parser
from published import ANSWERS, Ours, Size, configuration
from switches import TIMED, small
from training_step import waited

from mtlab.managers.mixtures import base
from mtlab.matmul import fast_matmul
from mtlab.studies.budget.memory import training_memory
from mtlab.training.environment import keep_freed_memory

PUBLISHED = {
    "adaptive": configuration("official_managertower", noise=0.0),
    "adaptive, noise": configuration("official_managertower"),
}
Step = Callable[[], object]


class Autograd:
    """The sum that autograd differentiates."""

    apply = staticmethod(base._sum_per_token)


def by_autograd(step: Step) -> object:
    """Make a step without the managers' own gradient."""
    with mock.patch.object(base, "_SumPerToken", Autograd):
        return step()


def timed(step: Step, rounds: int, clock: str, steps: int = 1) -> Row:
    """Time a step with each gradient."""
    taken = alternate({"own": step, "autograd": partial(by_autograd, step)}, rounds)
    return {
        "own / autograd": ratio(taken["own"], taken["autograd"], clock),
        f"own, {clock} s a step": median(taken["own"], clock) / steps,
    }


def peak(manager: str, precision: str) -> int:
    """Count the bytes that a step of the preset's batch holds at most."""
    config = PUBLISHED[manager]
    train = {**config["train"], "precision": precision}
    return training_memory({**config, "train": train}, answers=ANSWERS).peak


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, quick="batch 2")
    arguments.add_argument("--batch", type=int, default=4)
    arguments.add_argument("--device", default="cpu")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    device, size = torch.device(asked.device), Size(2 if asked.quick else asked.batch)
    clock = "wall" if device.type == "cuda" else "cpu"
    with fast_matmul(), measurements(asked) as tables:
        if device.type == "cpu":
            step = small("adaptive")[1]
            row = {"size": "quickstart", "precision": "fp32", "manager": "adaptive"}
            tables.add("kernels", [{**row, **timed(step, asked.rounds, clock, TIMED), "memory, own / autograd": None}])
        ours = Ours(PUBLISHED, device)
        batch = ours.batch(size)
        for precision in ("fp32", "bf16"):
            for manager in PUBLISHED:
                step = waited(partial(ours.step, manager, batch, precision=precision), device)
                count = partial(peak, manager, precision)
                row = {"size": "published", "precision": precision, "manager": manager}
                memory = {"memory, own / autograd": count() / by_autograd(count)}
                tables.add("kernels", [{**row, **timed(step, asked.rounds, clock), **memory}])


if __name__ == "__main__":
    main()
