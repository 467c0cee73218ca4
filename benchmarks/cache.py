"""What is the expert cache worth: training from cached levels against running the frozen towers in every step?

    python benchmarks/cache.py [--rounds 7] [--quick] [--base-rounds 7] [--part 10] [--seeds 2]

Steps of both kinds are timed in turn, batches made and all, on one thread: at quickstart's sizes (MiniLM,
EfficientNet-Lite0 at 128 px, batch 32), and with a base-size ViT at 224 px (random weights, batch 8) below quickstart's
small encoder and below one of the published size (width 768, 6 layers). Then a part of quickstart as a whole (a tenth
of its data and steps, all variants and seeds), start of all processes, extraction and judging included, with an empty
cache and an empty store; and again in a filled cache.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import Seconds, alternate, machine, measure, median, ratio
from processes import mtlab

from mtlab.data.cache.size_limit import folder_size
from mtlab.resolution.resolve import resolve
from mtlab.training.assemble import AssembledRun, assemble
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.steps import train_step

QUICKSTART: Mapping[str, Any] = {
    "manager": {"name": "static", "start": "top"},
    "text": {"name": "minilm", "layers": "top3"},
    "vision": {"name": "efficientnet_lite0", "layers": "top3", "image_size": 128},
    "model": {"width": 64, "heads": 4, "cross_layers": 3, "mlp_ratio": 2, "dropout": 0.0},
    "data": {"name": "shapes", "difficulty": "easy", "train": 320, "val": 32, "test": 32},
    "train": {"batch": 32},
    "metrics": {"choose": "val/accuracy", "mode": "max"},
}
BASE: Mapping[str, Any] = {
    **QUICKSTART,
    "vision": {"name": "timm", "model": "vit_base_patch16_224", "weights": "random", "layers": "top6"},
    "text": {"name": "minilm", "layers": "all"},
    "model": {"width": 768, "heads": 12, "cross_layers": 6, "dropout": 0.0},
    "data": {"name": "shapes", "difficulty": "easy", "train": 32, "val": 8, "test": 8},
    "train": {"batch": 8},
}
SMALL: Mapping[str, Any] = {**BASE, "model": QUICKSTART["model"]}
PART = {"steps": 600, "train": 8000, "val": 600, "test": 2400}  #: of quickstart as it is
GOAL = 4.0  #: times


class Training:
    """A run that trains on, step by step, from where it stands."""

    def __init__(self, config: Mapping[str, Any], *, cached: bool) -> None:
        self.run: AssembledRun = assemble(resolve({**config, "cache": {"enabled": cached}}), seed=0)
        run, train = self.run, self.run.train
        self.optimiser = make_optimiser(run.model, parameter_groups(run.model, train, run.tower_scales), train)
        self.batches = run.training.steps(0, train.batch, train.batch, 0)
        run.model.train()

    def __call__(self, steps: int) -> None:
        """Make some steps."""
        run = self.run
        for step in range(steps):
            batches = next(self.batches)
            train_step(run.model, self.optimiser, batches, run.runtime, seed=0, step=step, clip=run.train.clip)


@dataclass(frozen=True)
class Cache:
    """What filling the cache took, and what it takes on disk."""

    seconds: Seconds
    images: int
    texts: int
    mib: float


def steps(config: Mapping[str, Any], rounds: int, count: int) -> tuple[dict[str, list[Seconds]], Cache]:
    """Fill a cache, then time steps from it and without it."""
    made: list[Training] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MTLAB_CACHE"] = folder
        filled = measure(lambda: made.append(Training(config, cached=True)))
        cached, recomputed = made[0], Training(config, cached=False)
        sources = cached.run.sources
        sizes = Cache(filled, len(sources.vision), len(sources.text), folder_size(Path(folder)) / 2**20)  # type: ignore[arg-type]
        work: dict[str, Callable[[], object]] = {
            "cached": partial(cached, count),
            "recomputed": partial(recomputed, count),
        }
        return alternate(work, rounds), sizes


def study(root: Path, name: str, cache: str, words: Sequence[str]) -> tuple[Seconds, float]:
    """Run a part of quickstart in a store of its own; return what it took, and the most memory of a worker in MiB."""
    os.environ["MTLAB_CACHE"] = str(root / cache)
    store = root / f"store-{name}"
    taken = measure(mtlab("run", "quickstart", *words, "--store", str(store)))
    results = [json.loads(path.read_text()) for path in store.glob("cells/*/s*/result.json")]
    return taken, max(result["cost"]["memory_mib"] for result in results)


def studies(part: int, seeds: int) -> None:
    """Run one part in so many of quickstart: recomputed, cached from nothing, and cached again; print."""
    sizes = {name: size // part for name, size in PART.items()}
    words = [f"train.length={{steps: {sizes.pop('steps')}}}", f"train.eval_every={150 // part}", f"study.seeds={seeds}"]
    words += [f"data.{split}={size}" for split, size in sizes.items()]
    with tempfile.TemporaryDirectory() as folder:
        for name, cache, more in (
            ("recomputed", "none", ["cache.enabled=false"]),
            ("cached from nothing", "cache", []),
            ("cached again", "cache", []),
        ):
            taken, memory = study(Path(folder), name.replace(" ", "-"), cache, [*words, *more])
            print(f"1/{part} of quickstart, {name}: CPU {taken.cpu:.1f} s, wall {taken.wall:.1f} s, {memory:.0f} MiB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="0: leave steps out")
    parser.add_argument("--base-rounds", type=int, default=7, help="with the base-size ViT; 0: leave it out")
    parser.add_argument("--quick", action="store_true", help="three rounds at quickstart's sizes alone")
    parser.add_argument("--part", type=int, default=10, help="of quickstart as a whole: one in so many; 0: none of it")
    parser.add_argument("--seeds", type=int, default=2, help="of quickstart")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    if asked.rounds:
        told("quickstart's sizes, 3 steps", *steps(QUICKSTART, 3 if asked.quick else asked.rounds, 3))
    if asked.base_rounds and not asked.quick:
        told("base-size ViT, 224 px, quickstart's encoder, 1 step", *steps(SMALL, asked.base_rounds, 1))
        told("base-size ViT, 224 px, published encoder, 1 step", *steps(BASE, asked.base_rounds, 1))
    if asked.part and not asked.quick:
        studies(asked.part, asked.seeds)


def told(what: str, taken: Mapping[str, list[Seconds]], cache: Cache) -> None:
    """Print a comparison."""
    times = {name: f"{median(each):.3f} s CPU, {median(each, 'wall'):.3f} s wall" for name, each in taken.items()}
    faster = [ratio(taken["recomputed"], taken["cached"], clock) for clock in ("cpu", "wall")]
    print(f"{what}: recomputed {times['recomputed']}; cached {times['cached']}")
    print(f"  recomputed / cached: CPU {faster[0]}, wall {faster[1]} (goal: {GOAL:g})")
    print(
        f"  cache: {cache.images} images and {cache.texts} texts in {cache.seconds.cpu:.1f} s CPU, "
        f"{cache.seconds.wall:.1f} s wall, start included; {cache.mib:.1f} MiB on disk"
    )


if __name__ == "__main__":
    main()
