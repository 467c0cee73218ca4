"""One training step at the published base size: forward, backward, AdamW. Ours beside Hugging Face's BridgeTower.

    python benchmarks/training_step.py [--rounds 7] [--quick] [--batch 4] [--only bridge transformers]
        [--device cuda] [--compile]

With weights held in bfloat16, ours is compared with theirs under autocast, as their users train it. All are timed in
turn, round after round; every figure is a ratio of two CPU times of the same round (on a GPU: of wall
times). The limit is the time that the step's matrix products would take at the speed of its largest ones.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import Seconds, alternate, median, ratio
from measurements import Cell, Row, Tables, measurements, parser
from published import Ours, Size, Theirs, configuration
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mtlab.config.schema import Precision
from mtlab.matmul import fast_matmul
from mtlab.training.environment import keep_freed_memory

THEIRS, PEAK = "transformers", "peak"
VARIANTS = {
    "bridge": configuration("official_bridgetower"),
    "static": configuration("official_managertower_static", noise=0.0),
    "adaptive": configuration("official_managertower", noise=0.0),
    "static, noise": configuration("official_managertower_static"),
    "adaptive, noise": configuration("official_managertower"),
}
PAIRS = (
    ("bridge", THEIRS),
    ("static", THEIRS),
    ("adaptive", THEIRS),
    ("static", "bridge"),
    ("adaptive", "bridge"),
    ("static, noise", "static"),
    ("adaptive, noise", "adaptive"),
)
GOALS = {  #: of the ratios, by precision
    ("bridge", THEIRS): {"fp32": 0.95, "bf16": 1.0, "bf16_weights": 0.85},
    ("static", "bridge"): {"fp32": 1.02, "bf16": 1.02, "bf16_weights": 1.02},
    ("adaptive", "bridge"): {"fp32": 1.04, "bf16": 1.04, "bf16_weights": 1.04},
}
PRODUCTS = 12  #: of one measurement of the peak


class Peak:
    """The largest matrix products of a step: a feed-forward layer's of all image tokens, forward and backward."""

    def __init__(self, size: Size, device: torch.device, *, bf16: bool) -> None:
        kind = torch.bfloat16 if bf16 else torch.float32
        shapes = (size.tokens, 768), (768, 3072), (size.tokens, 3072)
        self.states, self.weight, self.gradient = (torch.randn(*shape, device=device, dtype=kind) for shape in shapes)

    @staticmethod
    def flops(size: Size) -> int:
        """Count the FLOPs of a call."""
        return PRODUCTS * 3 * 2 * size.tokens * 768 * 3072

    def __call__(self) -> None:
        """Multiply."""
        for _ in range(PRODUCTS):
            self.states @ self.weight
            self.gradient @ self.weight.T
            self.states.T @ self.gradient


def counted(step: Callable[[], object]) -> int:
    """Count the FLOPs of a step's matrix products, those of attention included."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        step()
    return counter.get_total_flops()


def waited(step: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Wait for the device at the end of a step."""

    def whole() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return whole


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, quick="batch 2")
    arguments.add_argument("--batch", type=int, default=4)
    arguments.add_argument("--precision", nargs="+", choices=get_args(Precision), default=get_args(Precision))
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--compile", action="store_true", help="the encoders, and all of the model of transformers")
    arguments.add_argument("--only", nargs="+", choices=(*VARIANTS, THEIRS), default=[*VARIANTS, THEIRS])
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    with fast_matmul(), measurements(asked) as tables:
        compare(tables, asked)


def compare(tables: Tables, asked: argparse.Namespace) -> None:
    """Time the steps of all variants in turn."""
    device, size = torch.device(asked.device), Size(2 if asked.quick else asked.batch)
    variants = {name: config for name, config in VARIANTS.items() if name in asked.only}
    ours, held = Ours(variants, device), None
    batch, one = ours.batch(size), Size(1)
    flops = {name: size.batch * counted(lambda name=name: ours.step(name, ours.batch(one))) for name in ours.models}
    theirs = Theirs(device, ours.optimiser)
    if THEIRS in asked.only:
        flops[THEIRS] = size.batch * counted(lambda: theirs.step(ours.batch(one)))
    if asked.compile:  # once FLOPs are counted
        for model in ours.models.values():
            model.encoder.compile(dynamic=True)
        theirs.model.compile(dynamic=True)
    steps: dict[str, Callable[[], object]] = {}
    for precision in asked.precision:
        if precision == "bf16_weights":
            held = Ours(variants, device, precision)
            for model in held.models.values() if asked.compile else ():
                model.encoder.compile(dynamic=True)
        for name in variants:
            step = (held or ours).step
            steps[f"{name} {precision}"] = waited(partial(step, name, batch, precision=precision), device)
    for precision in dict.fromkeys(map(autocast, asked.precision)):
        if THEIRS in asked.only:
            steps[f"{THEIRS} {precision}"] = waited(partial(theirs.step, batch, precision=precision), device)
        steps[f"{PEAK} {precision}"] = waited(Peak(size, device, bf16=precision == "bf16"), device)
    flops[PEAK] = Peak.flops(size)
    clock = "wall" if device.type == "cuda" else "cpu"
    taken: dict[str, list[Seconds]] = {name: [] for name in steps}
    for turn in range(asked.rounds):
        for name, seconds in alternate(steps, 1, warm=int(turn == 0)).items():
            taken[name] += seconds
        shown = ", ".join(f"{name} {getattr(seconds[-1], clock):.2f}" for name, seconds in taken.items())
        print(f"round {turn + 1}, {clock} seconds: {shown}", flush=True)
    tables.add("ratios", ratios(taken, asked.precision, clock))
    tables.add("precisions", precisions(taken, clock))
    tables.add("steps", [of_step(name, taken, flops, size, clock) for name in taken])


def autocast(precision: str) -> Precision:
    """Return the precision of transformers and of the peak that a precision is compared with."""
    return "fp32" if precision == "fp32" else "bf16"


def precisions(taken: dict[str, list[Seconds]], clock: str) -> list[Row]:
    """Make a row for each step that was measured in fp32 and in another precision."""
    rows: list[Row] = []
    for name in ("bridge", "adaptive", THEIRS):
        row: dict[str, Cell] = {"step": name}
        for kind, other in (("bf16", "fp32"), ("bf16_weights", "fp32"), ("bf16_weights", "bf16")):
            if f"{name} {kind}" in taken and f"{name} {other}" in taken:
                row[f"{kind} / {other}"] = ratio(taken[f"{name} {kind}"], taken[f"{name} {other}"], clock)
        rows += [row] if len(row) > 1 else []
    return rows


def ratios(taken: dict[str, list[Seconds]], kinds: list[Precision], clock: str) -> list[Row]:
    """Make a row for each pair that was measured."""
    rows: list[Row] = []
    for one, other in PAIRS:
        row: dict[str, Cell] = {"step": f"{one} / {other}"}
        for kind in kinds:
            peer = f"{other} {autocast(kind) if other == THEIRS else kind}"
            if f"{one} {kind}" in taken and peer in taken:
                row[kind] = ratio(taken[f"{one} {kind}"], taken[peer], clock)
                row[f"goal, {kind}"] = GOALS.get((one, other), {}).get(kind)
        rows += [row] if len(row) > 1 else []
    return rows


def of_step(name: str, taken: dict[str, list[Seconds]], flops: dict[str, int], size: Size, clock: str) -> Row:
    """Make the row of a step: its share of the limit, FLOPs and seconds."""
    step, _, precision = name.rpartition(" ")
    # the peak's time for as many products, as a share of the step's, round by round
    share = ratio(taken[f"{PEAK} {autocast(precision)}"], taken[name], clock).median * flops[step] / flops[PEAK]
    row = {"step": step, "precision": precision, "batch": size.batch, "share of the limit": share}
    seconds = {"CPU s": median(taken[name]), "wall s": median(taken[name], "wall")}
    return row | {"GFLOP per example": flops[step] / size.batch / 1e9} | seconds


if __name__ == "__main__":
    main()
