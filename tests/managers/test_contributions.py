"""Contributions: parts of a sum, parts through a norm, and removal where there is no sum."""

import pytest
import torch
from by_hand import make
from torch import nn

from mtlab.contract.case import EXPERTS, LAYERS, LENGTH, Case, draw_features, draw_inputs, randomise
from mtlab.managers.base import MANAGERS, Aggregated, Inputs, Manager, share_norms, stack_norms
from mtlab.managers.bridges.base import split_norm
from mtlab.managers.contributions import measure_removals

FORMS = ("scaled_add", "interpolate", "cross_attention")


def test_a_norm_is_the_sum_of_its_parts_and_its_shift() -> None:
    norm = randomise(nn.LayerNorm(16))
    terms = torch.randn(3, 2, 5, 16).unbind()
    parts = split_norm(terms, norm)
    torch.testing.assert_close(sum(parts) + norm.bias, norm(sum(terms)))
    # without the expert's term, but with the deviation of the whole sum, the others' parts stay as they are
    deviation = (sum(terms).var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    alone = norm.weight * (terms[1] - terms[1].mean(-1, keepdim=True)) / deviation
    torch.testing.assert_close(parts[1], alone)


@pytest.mark.parametrize("name", ["bridge", *(f"bridge_{form}" for form in FORMS)])
def test_bridges_share_their_output_between_expert_and_previous_state(name: str) -> None:
    manager = randomise(make(name, 1))
    given = draw_inputs(manager.place)
    got = manager(given, record=True)
    parts = split_norm(manager.terms(given.experts.states[:, 1], given), manager.norm)
    torch.testing.assert_close(sum(parts) + manager.norm.bias, got.hidden)
    sizes = [part.norm(dim=-1) for part in parts]
    torch.testing.assert_close(got.contributions[:, 1], sizes[0] / sum(sizes))
    torch.testing.assert_close(got.contributions[:, -1], sizes[1] / sum(sizes))
    assert not got.contributions[:, [0, 2]].any()
    assert not got.by_removal
    first = make(name, 0)
    alone = first(draw_inputs(first.place), record=True).contributions
    assert torch.equal(alone[0, :, 0], torch.tensor([1.0, 0.0, 0.0]))


def test_a_louder_expert_has_a_larger_share() -> None:
    manager = make("bridge_scaled_add", 1)
    given = draw_inputs(manager.place)
    shares = []
    for scale in (0.1, 1.0, 10.0):
        manager.scale.data.fill_(scale)
        shares.append(manager(given, record=True).contributions[:, 1].mean().item())
    assert shares == sorted(shares)
    assert shares[0] < 0.15
    assert shares[2] > 0.85


@pytest.mark.parametrize("name", ["bridge_product", "bridge_mlp"])
def test_what_is_no_sum_is_measured_by_removal(name: str) -> None:
    manager = randomise(make(name, 1)).eval()
    given = draw_inputs(manager.place)
    plain = manager(given, record=True)
    assert plain.contributions is None
    got = measure_removals(manager, given, plain)
    neutral = torch.full_like(given.history[-1], 1.0 if name == "bridge_product" else 0.0)
    u, c = given.experts.states[:, 1], given.history[-1]
    below = Inputs(given.experts, history=(neutral,))
    changes = [
        (plain.hidden - manager.norm(manager.join(neutral, given))).norm(dim=-1),
        (plain.hidden - manager.norm(manager.join(u, below))).norm(dim=-1),
    ]
    assert got.by_removal
    torch.testing.assert_close(got.contributions[:, 1], changes[0] / sum(changes))
    torch.testing.assert_close(got.contributions[:, -1], changes[1] / sum(changes))
    assert not got.contributions[:, [0, 2]].any()
    assert torch.equal(given.history[-1], c)


class Silent(Manager):
    """The experts' largest values and the sum of all previous states; it records nothing."""

    def forward(self, inputs: Inputs, **_: object) -> Aggregated:
        return Aggregated(inputs.experts.states.amax(1) + sum(inputs.history))


def test_managers_without_weights_are_measured_too() -> None:
    place = make("last", 2).place
    manager, given = Silent(None, place), draw_inputs(place)
    got = measure_removals(manager, given, manager(given)).contributions
    assert got.shape == (len(given.experts.states), EXPERTS + 1, LENGTH), "one row for all previous states together"
    torch.testing.assert_close(got.sum(1), torch.ones(len(got), LENGTH))
    assert (got[:, -1] > 0.3).all()


def test_an_encoder_records_contributions_of_every_manager() -> None:
    for name in ("bridge_mlp", "bridge", "mean"):
        encoder = Case(MANAGERS.get(name)).encoder()
        recorded = encoder(*draw_features(), record=True).recorded
        assert len(recorded) == 2 * LAYERS
        for (_, depth), each in recorded.items():
            torch.testing.assert_close(each.contributions.sum(1), torch.ones_like(each.contributions[:, 0]))
            assert each.by_removal == (name == "bridge_mlp" and depth > 0)
    changed = encoder(*draw_features(), intervene={("text", 0): lambda weights: weights}, record=True)
    assert changed.recorded["text", 0].weights is not None


def test_shares_of_nothing_are_alike() -> None:
    assert share_norms(stack_norms([torch.zeros(1, 1, 4)] * 4)).flatten().tolist() == [0.25] * 4
