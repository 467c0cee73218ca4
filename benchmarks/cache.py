"""What is the expert cache worth: training from cached levels against running the frozen towers in every step?

    python benchmarks/cache.py [--rounds 7] [--quick] [--only quickstart base]

Steps of both kinds are timed in turn, batches made and all, on one thread: at quickstart's sizes (MiniLM,
EfficientNet-Lite0 at 128 px, batch 32), and with a base-size ViT at 224 px (random weights, batch 8) below quickstart's
small encoder and below one of the published size (width 768, 6 layers).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import Seconds, alternate, measure, median, ratio
from measurements import Tables, measurements, parser

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
GOAL = 4.0  #: times
PARTS = ("quickstart", "base")


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


def compare(tables: Tables, names: tuple[str, str], config: Mapping[str, Any], rounds: int, count: int) -> None:
    """Make the rows of a comparison of steps: `names` are those of towers and encoder."""
    taken, cache = steps(config, rounds, count)
    row = {
        "towers": names[0],
        "encoder": names[1],
        "batch": config["train"]["batch"],
        "recomputed / cached": ratio(taken["recomputed"], taken["cached"]),
        "goal": GOAL,
        "recomputed, CPU s a step": median(taken["recomputed"]) / count,
        "cached, CPU s a step": median(taken["cached"]) / count,
    }
    tables.add("steps", [row])
    size = {"images": cache.images, "texts": cache.texts, "filling, CPU s": cache.seconds.cpu, "MiB on disk": cache.mib}
    tables.add("disk", [{"towers": names[0], "encoder": names[1], **size}])


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, quick="quickstart's sizes alone")
    arguments.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    asked = arguments.parse_args()
    chosen = PARTS[:1] if asked.quick else asked.only
    torch.set_num_threads(1)
    with measurements(asked) as tables:
        if "quickstart" in chosen:
            names = "MiniLM, EfficientNet-Lite0 at 128 px", "quickstart's"
            compare(tables, names, QUICKSTART, asked.rounds, 3)
        if "base" in chosen:
            towers = "MiniLM, base-size ViT at 224 px"
            compare(tables, (towers, "quickstart's"), SMALL, asked.rounds, 1)
            compare(tables, (towers, "published size"), BASE, asked.rounds, 1)


if __name__ == "__main__":
    main()
