"""The mixture's own gradient is autograd's of the formula."""

import pytest
import torch
from torch import Tensor

from mtlab.managers.mixtures.base import weighted_sum

KINDS = {
    "shared": (1, 4, 1, 1),
    "shared, by dimension": (1, 4, 1, 6),
    "by example": (3, 4, 1, 1),
    "by token": (3, 4, 5, 1),
    "by token, alike in all examples": (1, 4, 5, 1),
    "by token and dimension": (3, 4, 5, 6),
    "by place and dimension": (1, 4, 5, 6),
}


def given(kind: str) -> list[Tensor]:
    """Standardised experts, weights, scale and shift."""
    generator = torch.Generator().manual_seed(0)
    shapes = (3, 4, 5, 6), KINDS[kind], (4, 1, 6), (4, 1, 6)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradients_are_those_of_the_formula(kind: str) -> None:
    parts = given(kind)
    experts, weights, scale, shift = parts
    toward = torch.randn(3, 6, 5, dtype=torch.float64).transpose(1, 2)  # not contiguous
    found = [
        (hidden, *torch.autograd.grad(hidden, parts, toward))
        for hidden in (weighted_sum(*parts), (weights * (experts * scale + shift)).sum(1))
    ]
    for ours, formula in zip(*found, strict=True):
        torch.testing.assert_close(ours, formula)


@pytest.mark.parametrize("kind", ["shared", "by token", "by token and dimension"])
def test_half_precision_states_and_weights_get_their_gradients(kind: str) -> None:
    experts, weights, scale, shift = (part.detach().float() for part in given(kind))
    parts = [experts.bfloat16(), weights.bfloat16(), scale, shift]
    for part in parts:
        part.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        hidden = weighted_sum(*parts)
        found = torch.autograd.grad(hidden.square().sum(), parts)
    assert [gradient.dtype for gradient in found] == [part.dtype for part in parts]
    exact = [part.detach().double().requires_grad_() for part in parts]
    expected = torch.autograd.grad(weighted_sum(*exact).square().sum(), exact)
    for gradient, true in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient.double(), true, rtol=0.03, atol=0.03 * true.abs().max().item())
