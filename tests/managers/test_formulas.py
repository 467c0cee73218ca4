"""Each manager computes what its docstring says, written out here the slow way."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mtlab.config.check import checked
from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS, Manager, Place
from mtlab.testing import BATCH, EXPERTS, LAYERS, LENGTH, WIDTH, Scene, randomised, scene


def make(name: str, depth: int, offered: int = EXPERTS, layers: int = LAYERS, **options: object) -> Manager:
    entry = MANAGERS.get(name)
    config, place = checked(entry.config, options), Place(WIDTH, offered, depth, layers, "text")
    entry.cls.check(config, place)
    return entry.cls(config, place).eval()


def normed(manager: Manager, given: Scene) -> Tensor:
    """LN_n of every expert, [B, N, L, D]."""
    states = given.experts.states
    parts = [
        F.layer_norm(states[:, n], (WIDTH,), manager.scale[n, 0], manager.shift[n, 0]) for n in range(states.shape[1])
    ]
    return torch.stack(parts, 1)


@pytest.mark.parametrize("weight", ["scalar", "vector"])
@pytest.mark.parametrize("depth", [0, 2])
def test_static(weight: str, depth: int) -> None:
    manager = randomised(make("static", depth, weight=weight))
    given = scene(manager.place)
    alpha = (manager.score / manager.temperature).softmax(1)
    expected = (alpha * normed(manager, given)).sum(1)
    if depth:
        expected = expected + manager.previous_weight * manager.previous_norm(given.history[-1])
    torch.testing.assert_close(given.run(manager).hidden, expected)


@pytest.mark.parametrize("query", ["own", "fused"])
def test_adaptive(query: str) -> None:
    manager = randomised(make("adaptive", 1, query=query))
    given = scene(manager.place)
    own = manager.previous_norm(given.history[-1])
    asked = own
    if query == "fused":
        other = manager.other_norm(given.other)
        logits = manager.query(own) @ manager.key(other).transpose(1, 2) / WIDTH**0.5
        attended = logits.masked_fill(~given.other_mask[:, None], -torch.inf).softmax(-1) @ other
        asked = torch.cat([attended, own], -1)
    alpha = (manager.controller(asked) / manager.temperature).softmax(-1).transpose(1, 2).unsqueeze(-1)
    expected = (alpha * normed(manager, given)).sum(1) + manager.previous_weight * own
    torch.testing.assert_close(given.run(manager).hidden, expected)


def test_adaptive_with_its_own_query_is_blind_to_the_other_modality() -> None:
    manager = randomised(make("adaptive", 1, query="own"))
    given = scene(manager.place)
    blind = Scene(given.experts, given.history, torch.zeros_like(given.other), given.other_mask)
    assert torch.equal(given.run(manager).hidden, blind.run(manager).hidden)


@pytest.mark.parametrize("depth", [0, 2])
def test_managers_start_as_the_mean(depth: int) -> None:
    mean = make("mean", depth)
    given = scene(mean.place)
    expected = normed(mean, given).mean(1)
    if depth:
        expected = expected + F.layer_norm(given.history[-1], (WIDTH,))
    for manager in (mean, make("static", depth), make("static", depth, weight="scalar", frozen=True)):
        torch.testing.assert_close(given.run(manager).hidden, expected)


def test_last_enters_once_and_then_passes() -> None:
    for expert, index in ((-1, EXPERTS - 1), (1, 0), (2, 1)):
        given = scene(make("last", 0).place)
        assert torch.equal(given.run(make("last", 0, expert=expert)).hidden, given.experts.states[:, index])
    given = scene(make("last", 2).place)
    assert torch.equal(given.run(make("last", 2)).hidden, given.history[-1])


@pytest.mark.parametrize(
    ("experts", "layers", "pairs"), [(6, 6, [1, 2, 3, 4, 5, 6]), (6, 3, [4, 5, 6]), (2, 4, [1, 1, 1, 2])]
)
def test_bridge_takes_the_top_experts_in_order(experts: int, layers: int, pairs: list[int]) -> None:
    for depth, expert in enumerate(pairs):
        manager = randomised(make("bridge", depth, experts, layers))
        assert list(type(manager).experts_used(manager.config, manager.place)) == [expert]
        given = scene(manager.place)
        below = given.history[-1] if depth else 0
        torch.testing.assert_close(given.run(manager).hidden, manager.norm(given.experts.states[:, expert - 1] + below))


def test_contributions_measure_terms_and_not_weights() -> None:
    manager = make("static", 1, weight="scalar")
    with torch.no_grad():
        manager.scale[1] = 0.0  # the second expert has a third of the weight, and adds nothing
        manager.previous_weight.fill_(2.0)
    got = scene(manager.place).run(manager, record=True)
    assert got.weights is not None
    assert got.contributions is not None
    torch.testing.assert_close(got.weights.flatten(), torch.tensor([1 / 3, 1 / 3, 1 / 3, 2.0]))
    expected = torch.tensor([1 / 8, 0, 1 / 8, 6 / 8]).view(1, -1, 1).expand(BATCH, -1, LENGTH)
    torch.testing.assert_close(got.contributions, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "options", "key"),
    [
        ("last", {"expert": 4}, "expert"),
        ("last", {"expert": 0}, "expert"),
        ("bridge", {"experts": [1, 2]}, "experts"),
        ("bridge", {"experts": [1, 2, 4]}, "experts"),
        ("bridge", {"experts": "top"}, "experts"),
        ("bridge", {"experts": {"text": [1, 2, 3]}}, "experts"),
        ("bridge", {"experts": {"text": [1, 2, 7], "image": [1, 2, 3]}}, "experts.text"),
        ("static", {"temperature": 0.0}, "temperature"),
        ("static", {"weight": "matrix"}, "weight"),
        ("adaptive", {"noise": -1.0}, "noise"),
        ("adaptive", {"query": "both"}, "query"),
        ("cross_attention", {"heads": 3}, "heads"),
    ],
)
def test_options_that_cannot_be(name: str, options: dict[str, object], key: str) -> None:
    with pytest.raises(UserError) as caught:
        make(name, LAYERS - 1, **options)
    assert caught.value.key == key


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("query", ["own", "fused"])
@pytest.mark.parametrize("depth", [0, 2])
def test_cross_attention(heads: int, query: str, depth: int) -> None:
    manager = randomised(make("cross_attention", depth, heads=heads, query=query))
    given = scene(manager.place)
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
    torch.testing.assert_close(given.run(manager).hidden, expected)


def attended(fused: torch.nn.Module, own: Tensor, given: Scene) -> Tensor:
    """What own tokens see in the other modality, padding left out."""
    other = fused.norm(given.other)
    logits = fused.query(own) @ fused.key(other).transpose(1, 2) / WIDTH**0.5
    return logits.masked_fill(~given.other_mask[:, None], -torch.inf).softmax(-1) @ other
