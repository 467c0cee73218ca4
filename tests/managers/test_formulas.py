"""Each manager computes what its docstring says, written out here the slow way."""

from dataclasses import replace

import pytest
import torch
from by_hand import make, normed
from torch.nn import functional as F

from mtlab.contract.case import BATCH, EXPERTS, LAYERS, LENGTH, WIDTH, draw_inputs, randomise
from mtlab.errors import UserError


@pytest.mark.parametrize("weight", ["scalar", "vector"])
@pytest.mark.parametrize("depth", [0, 2])
def test_static(weight: str, depth: int) -> None:
    manager = randomise(make("static", depth, weight=weight))
    given = draw_inputs(manager.place)
    alpha = (manager.score / manager.temperature).softmax(1)
    expected = (alpha * normed(manager, given)).sum(1)
    if depth:
        expected = expected + manager.previous_weight * manager.previous_norm(given.history[-1])
    torch.testing.assert_close(manager(given).hidden, expected)


@pytest.mark.parametrize("query", ["own", "fused"])
def test_adaptive(query: str) -> None:
    manager = randomise(make("adaptive", 1, query=query))
    given = draw_inputs(manager.place)
    own = manager.previous_norm(given.history[-1])
    asked = own
    if query == "fused":
        other = manager.other_norm(given.other)
        logits = manager.query(own) @ manager.key(other).transpose(1, 2) / WIDTH**0.5
        attended = logits.masked_fill(~given.other_mask[:, None], -torch.inf).softmax(-1) @ other
        asked = torch.cat([attended, own], -1)
    alpha = (manager.controller(asked) / manager.temperature).softmax(-1).transpose(1, 2).unsqueeze(-1)
    expected = (alpha * normed(manager, given)).sum(1) + manager.previous_weight * own
    torch.testing.assert_close(manager(given).hidden, expected)


def test_adaptive_with_its_own_query_is_blind_to_the_other_modality() -> None:
    manager = randomise(make("adaptive", 1, query="own"))
    given = draw_inputs(manager.place)
    blind = replace(given, other=torch.zeros_like(given.other))
    assert torch.equal(manager(given).hidden, manager(blind).hidden)


@pytest.mark.parametrize("depth", [0, 2])
def test_managers_start_as_the_mean(depth: int) -> None:
    mean = make("mean", depth)
    given = draw_inputs(mean.place)
    expected = normed(mean, given).mean(1)
    if depth:
        expected = expected + F.layer_norm(given.history[-1], (WIDTH,))
    for manager in (mean, make("static", depth), make("static", depth, weight="scalar", frozen=True)):
        torch.testing.assert_close(manager(given).hidden, expected)


def test_last_enters_once_and_then_passes() -> None:
    for expert, index in ((-1, EXPERTS - 1), (1, 0), (2, 1)):
        given = draw_inputs(make("last", 0).place)
        assert torch.equal(make("last", 0, expert=expert)(given).hidden, given.experts.states[:, index])
    given = draw_inputs(make("last", 2).place)
    assert torch.equal(make("last", 2)(given).hidden, given.history[-1])


def test_contributions_measure_terms_and_not_weights() -> None:
    manager = make("static", 1, weight="scalar")
    with torch.no_grad():
        manager.scale[1] = 0.0  # the second expert has a third of the weight, and adds nothing
        manager.previous_weight.fill_(2.0)
    got = manager(draw_inputs(manager.place), record=True)
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
        ("concat_attention", {"heads": 0}, "heads"),
        ("concat_attention", {"heads": 32}, "heads"),
        ("bridge_cross_attention", {"heads": 5}, "heads"),
        ("bridge_mlp", {"experts": [1, 2, 4]}, "experts"),
        ("static_all", {"previous": "softmax"}, "previous"),
        ("sparse", {"k": 0}, "k"),
        ("window", {"spread": 0.0}, "spread"),
    ],
)
def test_options_that_cannot_be(name: str, options: dict[str, object], key: str) -> None:
    with pytest.raises(UserError) as caught:
        make(name, LAYERS - 1, **options)
    assert caught.value.key == key


@pytest.mark.parametrize("name", ["static", "adaptive"])
@pytest.mark.parametrize("depth", [0, 2])
def test_a_manager_may_start_at_the_top(name: str, depth: int) -> None:
    manager = make(name, depth, start="top")
    given = draw_inputs(manager.place)
    if depth and name == "adaptive":
        manager.controller.weight.data.zero_()  # what is left is where it starts
    weights = manager(given, record=True).weights[:, :EXPERTS]
    lead = weights[:, -1] / weights[:, :-1].amax(1)
    torch.testing.assert_close(lead, torch.full_like(lead, 3.0).exp())


@pytest.mark.parametrize("name", ["static", "adaptive"])
def test_managers_may_start_at_levels_spread_over_the_tower(name: str) -> None:
    first = []
    for depth in range(LAYERS):
        manager = make(name, depth, start="spread")
        if depth and name == "adaptive":
            manager.controller.weight.data.zero_()
        weights = manager(draw_inputs(manager.place), record=True).weights[:, :EXPERTS].mean((0, 2, 3))
        first.append(int(weights.argmax()))
    assert (LAYERS, EXPERTS) == (3, 3)
    assert first == [0, 1, 2]


@pytest.mark.parametrize("name", ["static", "adaptive"])
def test_managers_may_start_with_a_share_of_the_dimensions_for_each_level(name: str) -> None:
    manager = make(name, 2, start="slices")
    if name == "adaptive":
        manager.controller.weight.data.zero_()
    weights = manager(draw_inputs(manager.place), record=True).weights[0, :EXPERTS, 0]  # [N, D]
    owners = weights.argmax(0)
    assert owners.tolist() == sorted(owners.tolist())
    assert torch.bincount(owners, minlength=EXPERTS).amin() >= weights.shape[1] // EXPERTS
    torch.testing.assert_close(weights.amax(0) / weights.amin(0), torch.full((weights.shape[1],), 3.0).exp())


def test_spread_sum_starts_as_a_bridge_on_spread_levels_and_sums_all_that_its_weights_name() -> None:
    for depth in range(LAYERS):
        manager = make("spread_sum", depth)
        given = draw_inputs(manager.place)
        experts = torch.nn.functional.layer_norm(given.experts.states, given.experts.states.shape[-1:])
        expected = experts[:, depth] + (given.history[-1] if depth else 0)
        torch.testing.assert_close(manager(given).hidden, manager.norm(expected))
        torch.nn.init.normal_(manager.weight)
        expected = (manager.weight * experts).sum(1)
        if depth:
            torch.nn.init.normal_(manager.previous)
            expected = expected + (manager.previous * torch.stack(list(given.history), 1)).sum(1)
        torch.testing.assert_close(manager(given).hidden, manager.norm(expected))
