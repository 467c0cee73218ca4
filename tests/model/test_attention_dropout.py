"""Attention with dropout is what torch computes, random numbers included."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mtlab.attention import attend

MASK = torch.arange(5) < torch.tensor([5, 3, 1]).unsqueeze(1)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


def outcome(out: Tensor, *inputs: Tensor, parameters: list[Tensor]) -> tuple[Tensor, ...]:
    """The output, gradients, and the next random number."""
    weighed = (out * torch.linspace(-1, 1, out.shape[-1], dtype=out.dtype)).sum()
    return out, *torch.autograd.grad(weighed, [*inputs, *parameters]), torch.rand(())


@pytest.mark.parametrize("mask", [None, MASK])
def test_attention_with_dropout_is_torchs(mask: Tensor | None) -> None:
    query, key, value = drawn(3, 2, 4, 8), drawn(3, 2, 5, 8) + 1, drawn(3, 2, 5, 8) * 2
    seen = None if mask is None else mask[:, None, None, :]
    found = []
    for run in (
        lambda: F.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=0.4),
        lambda: attend(query, key, value, mask, 0.4),
    ):
        torch.manual_seed(3)
        found.append(outcome(run(), query, key, value, parameters=[]))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
