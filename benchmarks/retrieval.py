"""Retrieval's evaluation – towers once, contrast, matching of the best candidates – against scoring pair by pair.

    python benchmarks/retrieval.py [--images 200] [--captions 5] [--candidates 32] [--size tiny] [--quick]

Evaluation is measured whole, on one thread, and in between, at seven moments of it, so is a sample of pairs that go
through the full model, in batches of 64: both towers, and the cross-modal encoder; pixels and words are there already.
What all pairs would take is extrapolated from the sample, once with towers and once from levels that are there, too.
Memory is the most that the process had, and what of it was not there before, when model and data were.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import Seconds, measure, over_rounds
from cache import QUICKSTART
from measurements import Row, measurements, parser

from mtlab.data.base import Example
from mtlab.data.batches import Loader
from mtlab.model.forward import ForwardContext
from mtlab.resolution.resolve import resolve
from mtlab.tasks.evaluation import evaluate
from mtlab.tasks.ranking import recall
from mtlab.training.assemble import AssembledRun, assemble

SAMPLE, BATCH = 64, 64
TINY: Mapping[str, Any] = {
    "text": {"name": "tiny_text", "width": 16},
    "vision": {"name": "tiny_vision", "width": 16},
    "model": {"width": 16, "heads": 2, "cross_layers": 1, "mlp_ratio": 2, "dropout": 0.0},
}


def prepare(size: str, images: int, captions: int, candidates: int) -> tuple[AssembledRun, Loader]:
    """Build a model with both towers, and a split of so many pictures and captions."""
    written = {
        **QUICKSTART,
        **(TINY if size == "tiny" else {}),
        "task": {"name": "retrieval", "candidates": candidates},
        "data": {"name": "shapes_captions", "train": 64, "val": 16, "test": 4 * images},
        "metrics": {"choose": "val/recall", "mode": "max"},
        "cache": {"enabled": False},
    }
    run = assemble(resolve(written), seed=0)
    shown = list(dict.fromkeys(example.image for example in run.dataset.examples("test")))
    said = [example.text for example in run.dataset.examples("test")]
    examples = [
        Example(f"{at}", f"{said[at % len(said)]} {at}", shown[at // captions], -1, "")
        for at in range(images * captions)
    ]
    run.model.eval()
    return run, Loader(examples, run.sources.text, run.sources.vision)


class Sampled:
    """Pairs that go one by one through the full model, timed at moments of something else."""

    def __init__(self, context: ForwardContext, loader: Loader, batches: int, rounds: int) -> None:
        self.run, self.rounds, self.every = context, rounds, max(1, batches // rounds)
        some = loader.examples[:SAMPLE]
        self.words = loader.text.fetch([each.text for each in some])
        self.pixels = loader.image.fetch([each.image for each in some])
        self.calls = 0
        self.whole: list[Seconds] = []
        self.fused: list[Seconds] = []

    def __call__(self) -> None:
        """Count what happens between, and take a sample now and then."""
        self.calls += 1
        if self.calls % self.every == self.every // 2 and len(self.whole) < self.rounds:
            self.whole.append(measure(self._whole))
            self.fused.append(measure(self._fuse))

    def _whole(self) -> None:
        self.text, self.image = self.run.features("text", self.words), self.run.features("vision", self.pixels)
        self._fuse()

    def _fuse(self) -> None:
        self.run.model.task.answer([self.run.fuse(self.text, self.image)])


def memory(what: str) -> float:
    """Read the memory that this process has (VmRSS), or the most that it has had (VmHWM), in MiB."""
    return int(Path("/proc/self/status").read_text().partition(f"{what}:")[2].split()[0]) / 1024


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, rounds=7, quick="40 images, 16 candidates, tiny")
    arguments.add_argument("--images", type=int, default=200)
    arguments.add_argument("--captions", type=int, default=5)
    arguments.add_argument("--candidates", type=int, default=32)
    arguments.add_argument("--size", choices=("quickstart", "tiny"), default="quickstart")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    if asked.quick:
        asked.images, asked.candidates, asked.size = 40, 16, "tiny"
    with measurements(asked) as tables:
        tables.add("evaluation", evaluated(asked.size, asked.images, asked.captions, asked.candidates, asked.rounds))


def evaluated(size: str, images: int, captions: int, top: int, rounds: int) -> list[Row]:
    """Evaluate retrieval, sample pairs meanwhile, and make the rows."""
    texts, pairs = images * captions, images**2 * captions
    assembled, loader = prepare(size, images, captions, top)
    context = ForwardContext(assembled.model, assembled.runtime)
    candidates = (images + texts) * top  # at most: some are both
    sampled = Sampled(context, loader, (images + texts + candidates) // BATCH, rounds)
    held = memory("VmRSS")
    kept: list[recall.CandidatePairs] = []
    inner = recall.candidates
    recall.candidates = lambda *given: kept.append(inner(*given)) or kept[0]  # type: ignore[func-returns-value]
    whole = measure(lambda: evaluate(context, loader, BATCH, sampled))
    peak = memory("VmHWM")
    ours = whole.cpu - spent(sampled)
    first = {"images": images, "texts": texts, "pairs scored": len(kept[0].images), "CPU s": ours}
    rows: list[Row] = [
        {"way": f"evaluation, best {top} of each", **first, "peak MiB": peak, "beyond model and data, MiB": peak - held}
    ]
    for way, each in (("towers and encoder for each pair", sampled.whole), ("encoder for each pair", sampled.fused)):
        seconds = [taken.cpu / SAMPLE * pairs for taken in each]
        row = {"images": images, "texts": texts, "pairs scored": pairs, "CPU s": median(seconds)}
        rows.append({"way": way, **row, "CPU / evaluation": over_rounds(taken / ours for taken in seconds)})
    return rows


def spent(sampled: Sampled) -> float:
    """Sum up the CPU seconds of the samples."""
    return sum(taken.cpu for taken in (*sampled.whole, *sampled.fused))


if __name__ == "__main__":
    main()
