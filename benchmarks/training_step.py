"""One training step at the published base size: forward, backward, AdamW. Ours beside Hugging Face's BridgeTower.

    python benchmarks/training_step.py [--rounds 7] [--quick] [--batch 4] [--only bridge transformers] [--device cuda]

All are timed in turn, round after round; every figure is a ratio of two CPU times of the same round (on a GPU: of wall
times). The limit is the time that the step's matrix products would take at the speed of its largest ones.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import Seconds, alternate, median, ratio
from measurements import Cell, Row, Tables, measurements, parser
from published import Ours, Size, Theirs, configuration
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mtlab.training.environment import keep_freed_memory, use_fast_products

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
    ("bridge", THEIRS): {"fp32": 0.95, "bf16": 1.0},
    ("static", "bridge"): {"fp32": 1.02, "bf16": 1.02},
    ("adaptive", "bridge"): {"fp32": 1.06, "bf16": 1.06},
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
    arguments.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--only", nargs="+", choices=(*VARIANTS, THEIRS), default=[*VARIANTS, THEIRS])
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    if asked.device == "cpu":
        use_fast_products()
    with measurements(asked) as tables:
        compare(tables, asked)


def compare(tables: Tables, asked: argparse.Namespace) -> None:
    """Time the steps of all variants in turn."""
    device, size = torch.device(asked.device), Size(2 if asked.quick else asked.batch)
    ours = Ours({name: config for name, config in VARIANTS.items() if name in asked.only}, device)
    batch, one = ours.batch(size), Size(1)
    flops = {name: size.batch * counted(lambda name=name: ours.step(name, ours.batch(one))) for name in ours.models}
    theirs = Theirs(device, ours.optimiser)
    if THEIRS in asked.only:
        flops[THEIRS] = size.batch * counted(lambda: theirs.step(one))
    steps: dict[str, Callable[[], object]] = {}
    for precision in asked.precision:
        bf16 = precision == "bf16"
        for name in flops:
            step = partial(theirs.step, size) if name == THEIRS else partial(ours.step, name, batch)
            steps[f"{name} {precision}"] = waited(partial(step, bf16=bf16), device)
        steps[f"{PEAK} {precision}"] = waited(Peak(size, device, bf16=bf16), device)
    flops[PEAK] = Peak.flops(size)
    clock = "wall" if device.type == "cuda" else "cpu"
    taken: dict[str, list[Seconds]] = {name: [] for name in steps}
    for turn in range(asked.rounds):
        for name, seconds in alternate(steps, 1, warm=int(turn == 0)).items():
            taken[name] += seconds
        shown = ", ".join(f"{name} {getattr(seconds[-1], clock):.2f}" for name, seconds in taken.items())
        print(f"round {turn + 1}, {clock} seconds: {shown}", flush=True)
    tables.add("ratios", ratios(taken, asked.precision, clock))
    if len(asked.precision) > 1:
        names = [name for name in ("bridge", "adaptive", THEIRS) if name in asked.only]
        both = [(name, taken[f"{name} bf16"], taken[f"{name} fp32"]) for name in names]
        tables.add("precisions", [{"step": name, "bf16 / fp32": ratio(*times, clock)} for name, *times in both])
    tables.add("steps", [of_step(name, taken, flops, size, clock) for name in taken])


def ratios(taken: dict[str, list[Seconds]], precisions: list[str], clock: str) -> list[Row]:
    """Make a row for each pair that was measured."""
    rows: list[Row] = []
    for one, other in PAIRS:
        row: dict[str, Cell] = {"step": f"{one} / {other}"}
        for kind in precisions:
            if f"{one} {kind}" in taken and f"{other} {kind}" in taken:
                row[kind] = ratio(taken[f"{one} {kind}"], taken[f"{other} {kind}"], clock)
                row[f"goal, {kind}"] = GOALS.get((one, other), {}).get(kind)
        rows += [row] if len(row) > 1 else []
    return rows


def of_step(name: str, taken: dict[str, list[Seconds]], flops: dict[str, int], size: Size, clock: str) -> Row:
    """Make the row of a step: its share of the limit, FLOPs and seconds."""
    step, _, precision = name.rpartition(" ")
    # the peak's time for as many products, as a share of the step's, round by round
    share = ratio(taken[f"{PEAK} {precision}"], taken[name], clock).median * flops[step] / flops[PEAK]
    row = {"step": step, "precision": precision, "batch": size.batch, "share of the limit": share}
    seconds = {"CPU s": median(taken[name]), "wall s": median(taken[name], "wall")}
    return row | {"GFLOP per example": flops[step] / size.batch / 1e9} | seconds


if __name__ == "__main__":
    main()
