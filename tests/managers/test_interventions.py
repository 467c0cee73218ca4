"""What interventions make of weights."""

import pytest
import torch

from mtlab.contract.case import Case
from mtlab.inference.intervention import exchangeable
from mtlab.managers.base import MANAGERS, MODALITIES, Modality
from mtlab.managers.interventions import replacement, token_mean, uniform, uniform_of, without

WEIGHTS = torch.tensor([0.2, 0.3, 0.5]).view(1, 3, 1, 1)
ONE = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)


def test_uniform_over_what_is_read() -> None:
    torch.testing.assert_close(uniform([1, 2, 3])(WEIGHTS).flatten(), torch.full((3,), 1 / 3))
    assert torch.equal(uniform([2])(ONE), ONE)


def test_uniform_takes_the_choice_of_tokens_away() -> None:
    """Each token reads one expert of three (`sparse`, k = 1); the fourth, which the manager may read, has its part."""
    weights = torch.eye(4)[:, :3].view(1, 4, 3, 1)
    whole = uniform([1, 2, 3, 4])(weights)
    torch.testing.assert_close(whole, torch.full((1, 4, 3, 1), 0.25))
    alone = uniform([1, 2, 3, 4])(weights[:, :, :1])  # whatever else is in the batch
    torch.testing.assert_close(alone, whole[:, :, :1])


@pytest.mark.parametrize(
    ("name", "weighed", "skips"),
    [
        ("mmfuser", [1, 2], {3: 1.0}),
        ("tgif", [1, 2, 3], {2: 1.0}),
        ("residual_static", [1, 2], {3: 1.0}),
        ("deepstack", [], {3: 1.0}),
        ("igva", [1, 2, 3], {}),
        ("sparse", [1, 2, 3], {}),
    ],
)
def test_what_passes_beside_the_choice_keeps_its_weight(name: str, weighed: list[int], skips: dict[int, float]) -> None:
    """In front of the first layer, where a skip path is not one more expert to share weights with."""
    MANAGERS.import_all()
    case = Case(MANAGERS.get(name))
    manager, inputs = case.manager, case.draw_inputs()
    assert (list(manager.weighed), dict(manager.skips)) == (weighed, skips)
    plain, changed = (manager(inputs, intervene=each, record=True).weights for each in (None, uniform_of(manager)))
    torch.testing.assert_close(changed.sum(1), plain.sum(1).expand_as(changed.sum(1)))
    rest = changed.clone()
    for expert, weight in skips.items():
        rest[:, expert - 1] -= weight
    shared = rest[:, [expert - 1 for expert in weighed]]
    torch.testing.assert_close(shared, shared[:, :1].expand_as(shared))
    assert rest.sum().item() == pytest.approx(shared.sum().item(), abs=1e-5)


@pytest.mark.parametrize(("name", "exchanged"), [("bridge_scaled_add", set()), ("static", set(MODALITIES))])
def test_coefficients_that_no_intervention_is_given_are_not_exchanged(name: str, exchanged: set[Modality]) -> None:
    MANAGERS.import_all()
    assert exchangeable(Case(MANAGERS.get(name)).encoder(), set(MODALITIES)) == exchanged


def test_without_one_renormalises_the_rest() -> None:
    torch.testing.assert_close(without(3)(WEIGHTS).flatten(), torch.tensor([0.4, 0.6, 0.0]))
    assert torch.equal(without(2)(ONE), torch.zeros_like(ONE))
    assert torch.equal(without(1)(ONE), ONE)


RAW = torch.tensor([0.5, -0.2, 0.0]).view(1, 3, 1, 1)


def test_raw_weights_keep_their_sum_or_their_values() -> None:
    torch.testing.assert_close(uniform([1, 2])(RAW).flatten(), torch.tensor([0.15, 0.15, 0.0]))
    torch.testing.assert_close(without(1)(RAW).flatten(), torch.tensor([0.0, -0.2, 0.0]))
    torch.testing.assert_close(without(3, raw=True)(WEIGHTS).flatten(), torch.tensor([0.2, 0.3, 0.0]))


def test_token_mean_leaves_padding_out() -> None:
    weights = torch.rand(2, 3, 4, 1).softmax(1)
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    got = token_mean(mask)(weights)
    torch.testing.assert_close(got[1, :, 0, 0], weights[1, :, :2, 0].mean(1))
    torch.testing.assert_close(token_mean()(weights)[0], got[0])
    assert torch.equal(token_mean(mask)(WEIGHTS), WEIGHTS)


def test_another_seeds_weights() -> None:
    assert torch.equal(replacement(ONE)(WEIGHTS), ONE)
