"""The mixtures beyond the published two compute what their docstrings say, written out here the slow way."""

import math

import pytest
import torch
from by_hand import make, normed
from torch import Tensor

from mtlab.contract.case import BATCH, EXPERTS, LENGTH, WIDTH, draw_inputs, randomise
from mtlab.managers.interventions import without


@pytest.mark.parametrize("weight", ["scalar", "vector"])
@pytest.mark.parametrize("previous", ["raw", "own_softmax", "joint_softmax"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_static_all(previous: str, weight: str, depth: int) -> None:
    manager = randomise(make("static_all", depth, previous=previous, weight=weight, temperature_cross=0.5))
    given = draw_inputs(manager.place)
    below = [norm(state) for norm, state in zip(manager.previous_norms, given.history, strict=True)]
    scores = manager.score / manager.temperature
    omega: Tensor | None = None
    if previous == "joint_softmax" and depth:
        both = torch.cat([scores, manager.previous_score / manager.temperature], 1).softmax(1)
        alpha, omega = both[:, :EXPERTS], both[:, EXPERTS:]
    else:
        alpha, omega = scores.softmax(1), manager.previous_score
        if previous == "own_softmax" and depth:
            known = omega is not None
            omega = (omega / manager.temperature_cross).softmax(1) if known else torch.ones(1, 1, 1, 1)
    expected = (alpha * normed(manager, given)).sum(1)
    rows = alpha
    if depth:
        expected = expected + sum(omega[:, i] * state for i, state in enumerate(below))
        rows = torch.cat([alpha, omega.expand(-1, -1, -1, alpha.shape[-1])], 1)
    got = manager(given, record=True)
    torch.testing.assert_close(got.hidden, expected)
    torch.testing.assert_close(got.weights, rows)
    assert got.contributions.shape == (BATCH, EXPERTS + depth, LENGTH)


@pytest.mark.parametrize("weight", ["scalar", "vector"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_static_all_has_the_parameters_of_its_definition(weight: str, depth: int) -> None:
    cells = WIDTH if weight == "vector" else 1
    count = sum(parameter.numel() for parameter in make("static_all", depth, weight=weight).parameters())
    assert count == (EXPERTS + depth) * (2 * WIDTH + cells) + 1  # a LayerNorm and a weight each, one temperature
    apart = make("static_all", 2, weight=weight, previous="own_softmax")
    assert sum(parameter.numel() for parameter in apart.parameters()) == (EXPERTS + 2) * (2 * WIDTH + cells) + 2


def test_static_all_over_one_layer_below_is_static() -> None:
    one, other = make("static_all", 1), make("static", 1)
    given = draw_inputs(one.place)
    torch.testing.assert_close(one(given).hidden, other(given).hidden)


def test_without_an_expert_the_previous_states_keep_their_joint_weights() -> None:
    manager = randomise(make("static_all", 2, previous="joint_softmax", weight="scalar"))
    given = draw_inputs(manager.place)
    plain, removed = manager(given, record=True), manager(given, record=True, intervene=without(1))
    torch.testing.assert_close(removed.weights[:, EXPERTS:], plain.weights[:, EXPERTS:])
    torch.testing.assert_close(removed.weights.sum(), torch.tensor(1.0))


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_sparse(k: int) -> None:
    manager = randomise(make("sparse", 1, k=k, query="own"))
    given = draw_inputs(manager.place)
    own = manager.previous_norm(given.history[-1])
    dense = (manager.controller(own) / manager.temperature).softmax(-1)
    kept = torch.zeros_like(dense)
    for b in range(BATCH):
        for i in range(LENGTH):
            best = sorted(range(EXPERTS), key=lambda n: -dense[b, i, n].item())[:k]
            kept[b, i, best] = dense[b, i, best] / dense[b, i, best].sum()
    alpha = kept.transpose(1, 2).unsqueeze(-1)
    expected = (alpha * normed(manager, given)).sum(1) + manager.previous_weight * own
    got = manager(given, record=True)
    torch.testing.assert_close(got.hidden, expected)
    torch.testing.assert_close(got.weights[:, :EXPERTS], alpha.expand(-1, -1, -1, WIDTH))
    assert ((got.weights[:, :EXPERTS] > 0).sum(1) == min(k, EXPERTS)).all()


def test_sparse_learns_by_the_dense_gradient() -> None:
    """Experts left out by all tokens still move their scores; those that are kept alone would never be left."""
    manager = make("sparse", 1, k=1, query="own")
    given = draw_inputs(manager.place)
    with torch.no_grad():
        manager.controller.bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
        manager.temperature.fill_(3.0)
    torch.autograd.backward(manager(given).hidden.square().sum())
    assert (manager.controller.bias.grad.abs() > 1e-4).all()


def test_sparse_is_dense_where_no_token_can_ask() -> None:
    manager = make("sparse", 0, k=1)
    given = draw_inputs(manager.place)
    torch.testing.assert_close(manager(given).hidden, normed(manager, given).mean(1))


@pytest.mark.parametrize(("centre", "starts"), [("paired", [1.0, 2.0, 3.0]), ("middle", [2.0, 2.0, 2.0])])
def test_window(centre: str, starts: list[float]) -> None:
    for depth, start in enumerate(starts):
        manager = make("window", depth, centre=centre, spread=0.5)
        assert (manager.centre.item(), manager.log_spread.exp().item()) == pytest.approx((start, 0.5 * EXPERTS))
        given = draw_inputs(randomise(manager).place)
        heights = [
            math.exp(-((n - manager.centre.item()) ** 2) / (2 * math.exp(manager.log_spread.item()) ** 2))
            for n in (1, 2, 3)
        ]
        alpha = torch.tensor(heights) / sum(heights)
        expected = (alpha.view(1, -1, 1, 1) * normed(manager, given)).sum(1)
        if depth:
            expected = expected + manager.previous_weight * manager.previous_norm(given.history[-1])
        torch.testing.assert_close(manager(given).hidden, expected)


def test_window_has_mean_and_one_expert_as_its_limits() -> None:
    mean, wide, narrow = make("mean", 1), make("window", 1, spread=1e3), make("window", 1, spread=0.02)
    given = draw_inputs(mean.place)
    torch.testing.assert_close(wide(given).hidden, mean(given).hidden, atol=1e-4, rtol=1e-4)
    weights = narrow(given, record=True).weights
    torch.testing.assert_close(weights[0, :EXPERTS, 0, 0], torch.tensor([0.0, 1.0, 0.0]))


@pytest.mark.parametrize("name", ["cross_attention", "concat_attention", "static_all", "sparse", "window"])
def test_of_one_expert_all_weight_is_its_own(name: str) -> None:
    for depth in (0, 1):
        manager = make(name, depth, 1, 2)
        got = manager(draw_inputs(manager.place), record=True)
        torch.testing.assert_close(got.weights[:, :1], torch.ones_like(got.weights[:, :1]))
