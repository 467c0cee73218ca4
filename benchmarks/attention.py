"""Attention in narrow heads where oneDNN takes products: ours against torch's fused kernel called as it is.

    python benchmarks/attention.py [--rounds 7] [--quick]

Forward and backward, self-attention over the image's tokens of a batch of 32 in 4 heads, on one thread: a CNN's 16
tokens and a ViT's 82, at the width of the shipped recipes and at wider ones. oneDNN may take the
products of each head, where the processor is AMD's; where it does not, both are the same.
"""

from __future__ import annotations

import os
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import alternate, median, ratio
from measurements import Row, measurements, parser
from torch.nn import functional as F

from mtlab.attention import fused_attention
from mtlab.matmul import onednn_matmul

BATCH, HEADS, TIMES = 32, 4, 40


def attend(tensors: tuple[torch.Tensor, ...], *, own: bool) -> None:
    """Attend, forward and backward, some times."""
    query, key, value = tensors
    for _ in range(TIMES):
        attended = fused_attention(query, key, value, None) if own else F.scaled_dot_product_attention(*tensors)
        torch.autograd.grad(attended.sum(), tensors)


def compare(tokens: int, width: int, rounds: int) -> Row:
    """Time both at so many tokens and so wide."""
    tensors = tuple(torch.randn(BATCH, HEADS, tokens, width // HEADS, requires_grad=True) for _ in range(3))
    with onednn_matmul():
        found = alternate(
            {"ours": partial(attend, tensors, own=True), "torch": partial(attend, tensors, own=False)}, rounds
        )
    return {
        "tokens": tokens,
        "width": width,
        "ours / torch": ratio(found["ours"], found["torch"]),
        "torch, CPU ms": 1000 * median(found["torch"]) / TIMES,
    }


def main() -> None:
    """Measure and print."""
    asked = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with measurements(asked) as tables:
        sizes = ((16, 64), (16, 128), (16, 256), (82, 64), (82, 128), (82, 256))
        tables.add("attention", [compare(*size, asked.rounds) for size in sizes])


if __name__ == "__main__":
    main()
