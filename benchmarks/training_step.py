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
from alternating import ROUNDS, Seconds, alternate, machine, median, ratio
from published import Ours, Size, Theirs, configuration
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="three rounds of batch 2")
    parser.add_argument("--only", nargs="+", choices=(*VARIANTS, THEIRS), default=[*VARIANTS, THEIRS])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    device, size = torch.device(asked.device), Size(2 if asked.quick else asked.batch)
    rounds = 3 if asked.quick else asked.rounds
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
    print(f"{machine()}\nbatch {size.batch}, {size.pixels} px, {rounds} rounds, {device}", flush=True)
    clock = "wall" if device.type == "cuda" else "cpu"
    taken: dict[str, list[Seconds]] = {name: [] for name in steps}
    for turn in range(rounds):
        for name, seconds in alternate(steps, 1, warm=int(turn == 0)).items():
            taken[name] += seconds
        shown = ", ".join(f"{name} {getattr(seconds[-1], clock):.2f}" for name, seconds in taken.items())
        print(f"round {turn + 1}, {clock} seconds: {shown}", flush=True)
    report(taken, flops, asked.precision, clock)


def report(taken: dict[str, list[Seconds]], flops: dict[str, int], precisions: list[str], clock: str) -> None:
    """Print seconds, shares of the limit, and ratios."""
    print(f"\n{'step':24} {'CPU s':>7} {'wall s':>7} {'GFLOP':>7} {'of the limit':>13}")
    for name, seconds in taken.items():
        step, _, precision = name.rpartition(" ")
        # the peak's time for as many products, as a share of the step's, round by round
        share = ratio(taken[f"{PEAK} {precision}"], seconds, clock).median * flops[step] / flops[PEAK]
        told = f"{median(seconds):7.2f} {median(seconds, 'wall'):7.2f} {flops[step] / 1e9:7.0f}"
        print(f"{name:24} {told} {share:13.2f}")
    print(f"\n{f'ratio of {clock} seconds':34} {'median (least–most)':>22} {'of wall seconds':>22}")
    pairs = [(f"{one} {kind}", f"{other} {kind}") for kind in precisions for one, other in PAIRS]
    if len(precisions) > 1:
        pairs += [(f"{name} bf16", f"{name} fp32") for name in ("bridge", "adaptive", THEIRS)]
    for one, other in pairs:
        if one in taken and other in taken:
            cpu, wall = (ratio(taken[one], taken[other], each) for each in (clock, "wall"))
            print(f"{one + ' / ' + other:40} {cpu!s:>22} {wall!s:>22}")


if __name__ == "__main__":
    main()
