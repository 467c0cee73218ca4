"""Each bridge computes what its docstring says, with its expert and without."""

import pytest
import torch
from by_hand import make
from torch import Tensor
from torch.nn import functional as F

from mtlab.contract.case import EXPERTS, WIDTH, draw_inputs, randomise
from mtlab.managers.base import Manager
from mtlab.managers.interventions import without


def joined(name: str, manager: Manager, u: Tensor, c: Tensor, mask: Tensor) -> Tensor:
    """What each bridge norms."""
    if name == "bridge_scaled_add":
        return manager.scale * u + c
    if name == "bridge_interpolate":
        return (1 - manager.beta) * u + manager.beta * c
    if name == "bridge_product":
        return u * c
    if name == "bridge_mlp":
        return manager.narrow(F.gelu(manager.widen(torch.cat([u, c], -1))))
    if name == "bridge_cross_attention":
        layer, heads = manager.attention, manager.attention.heads
        query, (key, value) = layer.query(c), layer.key_value(u).chunk(2, -1)
        found = []
        for q, k, v in zip(*(part.chunk(heads, -1) for part in (query, key, value)), strict=True):
            logits = q @ k.transpose(1, 2) / (WIDTH // heads) ** 0.5
            found.append(logits.masked_fill(~mask[:, None], -torch.inf).softmax(-1) @ v)
        return c + layer.out(torch.cat(found, -1))
    return u + c


BRIDGES = ["bridge", *(f"bridge_{form}" for form in ("scaled_add", "interpolate", "product", "mlp", "cross_attention"))]


@pytest.mark.parametrize("name", BRIDGES)
def test_bridges(name: str) -> None:
    for depth in (0, 1):
        manager = randomise(make(name, depth))
        given = draw_inputs(manager.place)
        u = given.experts.states[:, depth]
        hidden = joined(name, manager, u, given.history[-1], given.experts.mask) if depth else u
        torch.testing.assert_close(manager(given).hidden, manager.norm(hidden))
    own = dict(make(name, 0).named_parameters())
    assert set(own) == {"norm.weight", "norm.bias"}, "at the first cross-modal layer there is nothing to join"


@pytest.mark.parametrize("name", BRIDGES)
def test_bridges_without_their_expert(name: str) -> None:
    manager = randomise(make(name, 1))
    given = draw_inputs(manager.place)
    c = given.history[-1]
    neutral = torch.full_like(c, 1.0 if name == "bridge_product" else 0.0)
    got = manager(given, intervene=without(2), record=True)
    torch.testing.assert_close(got.hidden, manager.norm(joined(name, manager, neutral, c, given.experts.mask)))
    assert not got.weights[:, :EXPERTS].any()


def test_bridges_start_and_record_as_published() -> None:
    for name, factors in (
        ("bridge_scaled_add", (1.0, 1.0)),
        ("bridge_interpolate", (0.5, 0.5)),
        ("bridge", (1.0, 1.0)),
    ):
        manager = make(name, 1)
        weights = manager(draw_inputs(manager.place), record=True).weights
        torch.testing.assert_close(weights.flatten(), torch.tensor([0.0, factors[0], 0.0, factors[1]]))


@pytest.mark.parametrize(
    ("experts", "layers", "pairs"), [(6, 6, [1, 2, 3, 4, 5, 6]), (6, 3, [4, 5, 6]), (2, 4, [1, 1, 1, 2])]
)
def test_bridge_takes_the_top_experts_in_order(experts: int, layers: int, pairs: list[int]) -> None:
    for depth, expert in enumerate(pairs):
        manager = randomise(make("bridge", depth, experts, layers))
        assert list(type(manager).experts_used(manager.config, manager.place)) == [expert]
        given = draw_inputs(manager.place)
        below = given.history[-1] if depth else 0
        torch.testing.assert_close(manager(given).hidden, manager.norm(given.experts.states[:, expert - 1] + below))
