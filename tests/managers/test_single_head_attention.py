"""Attention with fewer products is attention, whichever side has the fewer tokens; and what it spares is counted."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mtlab.managers.mixtures.base import single_head_attention, skipped_map_flops

WIDTH = 8
SIZES = [(3, 7), (7, 3), (5, 5), (1, 6)]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("length", "others"), SIZES)
def test_value_and_gradients_are_those_of_the_formula(length: int, others: int, masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    own, other, values = (
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((2, length, WIDTH), (2, others, WIDTH), (2, others, 4))
    )
    query, key = (nn.Linear(WIDTH, WIDTH, dtype=torch.float64) for _ in range(2))
    mask = torch.arange(others) < torch.tensor([[others], [max(1, others - 2)]]) if masked else None
    logits = query(own) @ key(other).transpose(1, 2) / WIDTH**0.5
    if mask is not None:
        logits = logits.masked_fill(~mask[:, None], -torch.inf)
    formula, ours = logits.softmax(-1) @ values, single_head_attention(own, other, query, key, values, mask)
    torch.testing.assert_close(ours, formula)
    parts = [own, other, values, query.weight, query.bias, key.weight]
    toward = torch.randn(formula.shape, generator=generator, dtype=torch.float64)
    found = (torch.autograd.grad(each, parts, toward) for each in (ours, formula))
    for one, expected in zip(*found, strict=True):
        torch.testing.assert_close(one, expected)


@pytest.mark.parametrize(("length", "others"), SIZES)
def test_what_is_spared_is_what_the_formula_costs_more(length: int, others: int) -> None:
    own, other, values = (torch.randn(1, tokens, WIDTH) for tokens in (length, others, others))
    query, key = (nn.Linear(WIDTH, WIDTH) for _ in range(2))
    with FlopCounterMode(display=False) as plain:
        (query(own) @ key(other).transpose(1, 2)).softmax(-1) @ values
    with FlopCounterMode(display=False) as ours:
        single_head_attention(own, other, query, key, values, None)
    assert plain.get_total_flops() - ours.get_total_flops() == skipped_map_flops(WIDTH, length, others)


def test_nothing_is_found_where_the_other_modality_has_no_real_token() -> None:
    query, key = (nn.Linear(WIDTH, WIDTH) for _ in range(2))
    for length, others in SIZES:
        own, other = torch.randn(2, length, WIDTH), torch.randn(2, others, WIDTH)
        mask = torch.tensor([[True], [False]]).expand(2, others)
        found = single_head_attention(own, other, query, key, other, mask)
        assert found[0].abs().sum() > 0
        assert torch.equal(found[1], torch.zeros(length, WIDTH))


@pytest.mark.parametrize(("length", "others"), SIZES)
def test_half_precision_is_as_close_as_that_of_the_formula(length: int, others: int) -> None:
    wide, generator = 256, torch.Generator().manual_seed(0)
    own, other = (torch.randn(2, tokens, wide, generator=generator) for tokens in (length, others))
    query, key = (nn.Linear(wide, wide) for _ in range(2))
    for layer in (query, key):
        nn.init.normal_(layer.weight, std=2 / wide**0.5, generator=generator)
    exact = single_head_attention(own, other, query, key, other, None)
    with torch.autocast("cpu", torch.bfloat16):
        half = [part.bfloat16() for part in (own, other)]
        plain = nn.functional.scaled_dot_product_attention(query(half[0]), key(half[1]), half[1])
        ours = single_head_attention(*half, query, key, half[1], None)
    errors = [(each.float() - exact).norm() / exact.norm() for each in (ours, plain)]
    assert errors[0] < 1.5 * errors[1] + 0.005
