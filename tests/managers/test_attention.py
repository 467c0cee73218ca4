"""Managers that attend compute what their docstrings say, written out here head by head."""

from dataclasses import replace

import pytest
import torch
from by_hand import attended, make, normed
from torch.utils.flop_counter import FlopCounterMode

from mtlab.contract.case import BATCH, EXPERTS, LENGTH, OTHER, WIDTH, draw_inputs, randomise
from mtlab.managers.base import Experts, Inputs
from mtlab.managers.interventions import without


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("query", ["own", "fused"])
@pytest.mark.parametrize("depth", [0, 2])
def test_cross_attention(heads: int, query: str, depth: int) -> None:
    manager = randomise(make("cross_attention", depth, heads=heads, query=query))
    given = draw_inputs(manager.place)
    experts = normed(manager, given)
    own = manager.previous_norm(given.history[-1]) if depth else experts[:, -1]
    asked = own
    if query == "fused" and depth:
        asked = torch.cat([attended(manager.fused, own, given), own], -1)
    shares = WIDTH // heads
    expected = torch.zeros_like(own)
    for head in range(heads):
        part = slice(head * shares, (head + 1) * shares)
        keys = experts @ manager.key.weight[part].T
        logits = (manager.query(asked)[..., part].unsqueeze(1) * keys).sum(-1) / shares**0.5
        expected[..., part] = (logits.softmax(1).unsqueeze(-1) * experts[..., part]).sum(1)
    if depth:
        expected = expected + manager.previous_weight * own
    torch.testing.assert_close(manager(given).hidden, expected)


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize(("depth", "first"), [(0, "uniform"), (0, "top"), (2, "uniform")])
def test_concat_attention(heads: int, depth: int, first: str) -> None:
    manager = randomise(make("concat_attention", depth, heads=heads, first=first))
    given = draw_inputs(manager.place)
    experts = normed(manager, given)
    own = manager.previous_norm(given.history[-1]) if depth else experts[:, -1]
    if depth or first == "top":
        keys = [(experts[:, n] + manager.embedding[n]) @ manager.key.weight.T for n in range(EXPERTS)]
        values = [experts[:, n] @ manager.value.weight.T for n in range(EXPERTS)]
        width, parts, shares = WIDTH // heads, [], []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            logits = [manager.query(own)[..., part] @ key[..., part].transpose(1, 2) / width**0.5 for key in keys]
            seen = [each.masked_fill(~given.experts.mask[:, None], -torch.inf) for each in logits]
            attention = torch.cat(seen, -1).softmax(-1)
            parts.append(attention @ torch.cat([value[..., part] for value in values], 1))
            weights = torch.stack([each.sum(-1) for each in attention.chunk(EXPERTS, -1)], 1)
            shares.append(weights.unsqueeze(-1).expand(-1, -1, -1, width))
        expected, alpha = torch.cat(parts, -1), torch.cat(shares, -1)
    else:
        expected, alpha = experts.mean(1), torch.full((1, EXPERTS, 1, 1), 1 / EXPERTS)
    if depth:
        expected = expected + manager.previous_weight * own
    got = manager(given, record=True)
    torch.testing.assert_close(manager(given).hidden, expected)
    torch.testing.assert_close(got.hidden, expected)
    torch.testing.assert_close(
        got.weights[:, :EXPERTS], alpha[..., : got.weights.shape[-1]].expand_as(got.weights[:, :EXPERTS])
    )


def test_concat_attention_without_an_expert_is_attention_over_the_others() -> None:
    manager = randomise(make("concat_attention", 2, heads=2))
    given = draw_inputs(manager.place)
    fewer = make("concat_attention", 2, EXPERTS - 1, heads=2)
    kept = {name: v[:-1] if name in ("scale", "shift", "embedding") else v for name, v in manager.state_dict().items()}
    fewer.load_state_dict(kept)
    others = replace(given, experts=Experts(given.experts.states[:, :-1], given.experts.mask))
    got = manager(given, intervene=without(EXPERTS), record=True)
    torch.testing.assert_close(got.hidden, fewer(others).hidden)
    torch.testing.assert_close(got.contributions[:, EXPERTS - 1], torch.zeros(BATCH, LENGTH))


@pytest.mark.parametrize("name", ["adaptive", "cross_attention", "residual_adaptive"])
def test_a_fused_query_finds_nothing_where_the_other_modality_has_no_real_token(name: str) -> None:
    manager = randomise(make(name, 2, query="cross" if name == "residual_adaptive" else "fused"))
    given = draw_inputs(manager.place)
    nothing = torch.zeros(BATCH, OTHER, dtype=torch.bool)
    hidden, of_others = (
        manager(replace(given, other=other, other_mask=nothing)).hidden for other in (given.other, given.other + 1)
    )
    assert torch.equal(hidden, of_others)
    hidden.sum().backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in manager.parameters())


MAP = 2 * WIDTH * WIDTH  #: FLOPs of a linear map of one token
CROSS = MAP * LENGTH * (1 + EXPERTS)  #: of the query and of all experts' keys; the rest is elementwise
FUSED = MAP * LENGTH + MAP * (LENGTH + OTHER) + 4 * LENGTH * OTHER * WIDTH  #: the query's other half, and attention
READ = 2 * LENGTH * 2 * WIDTH * EXPERTS  #: W [r ; c] of each token
CONCAT = MAP * LENGTH * (1 + 2 * EXPERTS) + 4 * LENGTH * EXPERTS * LENGTH * WIDTH  #: query, keys, values, attention


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize(
    ("name", "depth", "options", "expected"),
    [
        ("cross_attention", 0, {}, CROSS),
        ("cross_attention", 2, {"query": "own"}, CROSS),
        ("cross_attention", 2, {"query": "fused"}, CROSS + FUSED),
        ("residual_adaptive", 0, {}, 0),
        ("residual_adaptive", 2, {"query": "own"}, READ // 2),
        ("residual_adaptive", 2, {"query": "average"}, READ),
        ("residual_adaptive", 2, {"query": "cross"}, READ + MAP * (LENGTH + OTHER) + 4 * LENGTH * OTHER * WIDTH),
        ("concat_attention", 0, {}, 0),
        ("concat_attention", 0, {"first": "top"}, CONCAT),
        ("concat_attention", 2, {}, CONCAT),
    ],
)
def test_the_cost_is_that_of_the_formula_however_it_is_computed(
    name: str, depth: int, options: dict[str, str], expected: int, heads: int
) -> None:
    manager = make(name, depth, **({} if name == "residual_adaptive" else {"heads": heads}), **options).eval()
    given = draw_inputs(manager.place)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        manager.to("meta")(_on_meta(given))
    assert counter.get_total_flops() / BATCH + manager.skipped_flops(LENGTH, OTHER) == expected


def _on_meta(given: Inputs) -> Inputs:
    """Without values, as budgets count: attention on a CPU would count as nothing."""
    return Inputs(
        experts=Experts(given.experts.states.to("meta")),
        history=tuple(state.to("meta") for state in given.history),
        other=None if given.other is None else given.other.to("meta"),
    )
