"""Do the managers' own kernels pay on whole training steps? Each is timed beside the plain form that it stands for.

    python benchmarks/kernels.py [--rounds 7] [--quick] [--batch 4] [--device cuda]

*gradient*: `weighted_sum` has a backward pass of its own; plain is autograd's. *attention*: `single_head_attention`
maps only the fewer tokens, through both maps; plain maps own tokens to queries and the others to keys. Steps are those
of the quickstart, whose towers are cached, and of the published base size with trained towers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import alternate, median, ratio
from measurements import Row, measurements, parser
from published import Ours, Size, configuration
from switches import TIMED, small
from torch import Tensor, nn
from torch.nn import functional as F
from training_step import waited

from mtlab.attention import fused_attention
from mtlab.managers.mixtures import adaptive, base
from mtlab.matmul import fast_matmul
from mtlab.training.environment import keep_freed_memory

PUBLISHED = {
    "static": configuration("official_managertower_static", noise=0.0),
    "adaptive": configuration("official_managertower", noise=0.0),
    "adaptive, noise": configuration("official_managertower"),
}
KERNELS = {"static": ("gradient",), "adaptive": ("gradient", "attention"), "adaptive, noise": ("gradient",)}
Step = Callable[[], object]


class PlainSum:
    """The sum that autograd differentiates."""

    apply = staticmethod(base._sum_forward)


def plain_attention(
    own: Tensor, other: Tensor, query: nn.Linear, key: nn.Linear, values: Tensor, mask: Tensor | None
) -> Tensor:
    """Attend as `single_head_attention` does, with queries and keys of all tokens."""
    attendable = mask.unsqueeze(1) if mask is not None else None
    return fused_attention(query(own), F.linear(other, key.weight), values, attendable)


def plainly(step: Step, kernel: str) -> None:
    """Make a step with a kernel's plain form."""
    with ExitStack() as stack:
        if kernel == "gradient":
            stack.enter_context(mock.patch.object(base, "_WeightedSum", PlainSum))
        else:
            stack.enter_context(mock.patch.object(adaptive, "single_head_attention", plain_attention))
        step()


def compared(steps: dict[str, Step], size: str, precision: str, rounds: int, clock: str) -> Iterator[Row]:
    """Time the steps of each manager as they are and with each of its kernels in the plain form."""
    for manager, step in steps.items():
        forms = {"own": step} | {kernel: partial(plainly, step, kernel) for kernel in KERNELS[manager]}
        taken = alternate(forms, rounds)
        row: dict[str, object] = {"size": size, "precision": precision, "manager": manager}
        for kernel in ("gradient", "attention"):
            row[f"own / plain {kernel}"] = ratio(taken["own"], taken[kernel], clock) if kernel in forms else None
        made = TIMED if size == "quickstart" else 1
        yield row | {f"own, {clock} s a step": median(taken["own"], clock) / made}


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
            steps: dict[str, Step] = {name: small(name)[1] for name in ("static", "adaptive")}
            tables.add("kernels", list(compared(steps, "quickstart", "fp32", asked.rounds, clock)))
        ours = Ours(PUBLISHED, device)
        batch = ours.batch(size)
        for precision in ("fp32", "bf16"):
            steps = {name: waited(partial(ours.step, name, batch, precision=precision), device) for name in ours.models}
            tables.add("kernels", list(compared(steps, "published", precision, asked.rounds, clock)))


if __name__ == "__main__":
    main()
