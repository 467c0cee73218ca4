"""What golden tensors of single mechanisms leave open: masks, class tokens, grids, levels beside previous states."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from by_hand import make

from mtlab.config.check import check_config
from mtlab.contract.case import EXPERTS, LAYERS, WIDTH, draw_inputs, randomise
from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS, Experts, Manager, Place
from mtlab.managers.connectors.base import expert_groups
from mtlab.managers.interventions import token_mean, uniform_of, without
from mtlab.towers.base import TokenGrid

TOP = EXPERTS - 1  #: index of the top expert


def built(name: str, place: Place, **options: Any) -> Manager:
    entry = MANAGERS.get(name)
    return randomise(entry.cls(check_config(entry.config, options), place)).eval()


def image(experts: int = EXPERTS, grid: TokenGrid | None = None, *, class_token: bool = False) -> Place:
    return Place(WIDTH, experts, 0, LAYERS, "image", EXPERTS, class_token=class_token, grid=grid)


@pytest.mark.parametrize("query", ["last", "average", "cross"])
def test_residual_adaptive_asks_with_real_tokens(query: str) -> None:
    manager = randomise(make("residual_adaptive", 1, query=query))
    given = draw_inputs(manager.place)
    own, other, mask = given.history[-1], given.other, given.other_mask
    assert other is not None
    assert mask is not None
    for row in range(len(own)):
        real = other[row, : int(mask[row].sum())]
        asked = {"last": real[-1], "average": real.mean(0)}.get(query)
        if asked is None:
            logits = manager.query(own[row]) @ manager.key(real).T / WIDTH**0.5
            asked = logits.softmax(-1) @ real
        scores = manager.controller(torch.cat([asked.expand_as(own[row]), own[row]], -1))  # [L, N]
        terms = scores.T.unsqueeze(-1) * manager.gate[0] * given.experts.states[row]
        torch.testing.assert_close(manager(given).hidden[row], own[row] + terms.sum(0), rtol=1e-5, atol=1e-5)


def test_residual_static_leaves_the_top_expert_out_at_the_first_layer_alone() -> None:
    first, later = (randomise(make("residual_static", depth)) for depth in (0, 1))
    levels = draw_inputs(first.place).experts.levels
    expected = levels[-1] + sum(weight * level for weight, level in zip(first.gate[0], levels[:-1], strict=True))
    torch.testing.assert_close(first(draw_inputs(first.place)).hidden, expected)
    assert later.gate.shape[1] == EXPERTS
    assert first(draw_inputs(first.place), record=True).weights[0, -1, 0, 0] == 1


@pytest.mark.parametrize(
    ("options", "depth", "expected"),
    [
        ({"mode": "full"}, 2, [0, 1, 2, 3, 4, 4]),
        ({"mode": "full", "experts": "top"}, 1, [2, 3, 3]),
        ({"mode": "block_states", "block": 2}, 3, [0, 1, 2, 4, 5]),
        ({"mode": "block", "block": 2}, 2, [0, 1, 2, 4]),
        ({"mode": "block", "block": 2}, 3, [0, 1, 2, 4, (5, 4)]),
        ({"mode": "block", "block": 1}, 3, [0, 1, 2, 3, (4, 3), (5, 4)]),
        ({"mode": "delta"}, 2, [0, 1, 2, (3, 2), (4, 3)]),
        ({"mode": "delta_block", "block": 2}, 3, [0, 1, 2, (4, 2)]),
    ],
)
def test_sources_of_attention_residuals(options: dict[str, Any], depth: int, expected: list[Any]) -> None:
    """States 0 to 2 are the experts, 3, 4, … the previous states; a pair is a difference."""
    entry = MANAGERS.get("attention_residual")
    place = Place(WIDTH, EXPERTS, depth, 4, "text", 1)
    found = entry.cls.sources(check_config(entry.config, options), place)
    assert found == [each if isinstance(each, tuple) else (each, None) for each in expected]


def test_attention_residual_is_one_softmax_over_levels_and_states() -> None:
    manager = randomise(make("attention_residual", 2))
    given = draw_inputs(manager.place)
    states = [*given.experts.levels, *given.history]
    sources = torch.stack([*states, states[-1]], 1)
    normed = sources / (sources.square().mean(-1, keepdim=True) + 1e-6).sqrt() * manager.scale
    scores = normed @ manager.query.weight[0]
    scores[:, -1] += manager.recency
    attention = scores.softmax(1)
    torch.testing.assert_close(manager(given).hidden, (attention.unsqueeze(-1) * sources).sum(1))
    recorded = manager(given, record=True).weights[..., 0]
    torch.testing.assert_close(recorded[:, -1], attention[:, -2:].sum(1))
    torch.testing.assert_close(recorded.sum(1), torch.ones_like(recorded[:, 0]))


def test_levels_without_any_weight_stay_finite_under_interventions() -> None:
    manager = randomise(make("attention_residual", 2, recency=500.0))
    given = draw_inputs(manager.place)
    for intervention in (uniform_of(manager), token_mean(), without(1)):
        torch.testing.assert_close(manager(given, intervene=intervention).hidden, manager(given).hidden)


@pytest.mark.parametrize(
    ("options", "depth", "read"),
    [
        ({}, 2, [0, 1, 2, 3, 4]),
        ({"dilation": 2}, 2, [0, 2, 4]),
        ({"dilation": 2}, 1, [1, 3]),
        ({"dilation": 2, "experts": "top"}, 2, [2, 4]),
        ({"period": 2}, 1, [3]),
        ({"period": 3}, 3, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_dilation_goes_on_down_through_the_levels(options: dict[str, Any], depth: int, read: list[int]) -> None:
    manager = make("depth_weighted", depth, **options)
    assert manager.read == read
    assert [number - 1 for number in type(manager).experts_used(manager.config, manager.place)] == [
        number for number in read if number < EXPERTS
    ]


def test_an_expert_is_removed_from_raw_weights_and_the_others_stay() -> None:
    manager = randomise(make("depth_weighted", 1))
    given = draw_inputs(manager.place)
    plain, less = manager(given, record=True), manager(given, intervene=without(2), record=True)
    torch.testing.assert_close(plain.hidden - plain.weights[0, 1] * given.experts.levels[1], less.hidden)
    assert torch.equal(less.weights[:, [0, 2, 3]], plain.weights[:, [0, 2, 3]])


@pytest.mark.parametrize("options", [{}, {"mode": "block"}, {"null_source": True, "gate": "vector"}])
def test_attention_residuals_share_the_weight_of_a_removed_level_among_the_others(options: dict[str, Any]) -> None:
    manager = randomise(make("attention_residual", 1, **options))
    given = draw_inputs(manager.place)
    plain, less = (manager(given, intervene=each, record=True).weights for each in (None, without(2)))
    assert (less[:, 1] == 0).all()
    torch.testing.assert_close(less[:, :EXPERTS].sum(1), plain[:, :EXPERTS].sum(1))
    assert torch.equal(less[:, EXPERTS:], plain[:, EXPERTS:])


def test_one_query_of_tgif_is_the_mean_of_real_tokens() -> None:
    manager = randomise(make("tgif", 0))
    given = draw_inputs(manager.place)
    assert given.other_experts is not None
    level, mask = given.other_experts.levels[0], given.other_experts.mask
    assert mask is not None
    asked = torch.stack([states[real].mean(0) for states, real in zip(level, mask, strict=True)])
    weights = manager.controller(manager.widen(asked).relu()).softmax(-1)
    mixed = given.experts.levels[TOP - 1] + torch.einsum("bn,bnld->bld", weights, given.experts.states)
    torch.testing.assert_close(manager(given).hidden, manager.projector(manager.norm(mixed)))


def test_igva_reads_the_class_token_where_there_is_one() -> None:
    experts = Experts(draw_inputs(image()).experts.states)
    given = replace(draw_inputs(image()), experts=experts)
    changed = replace(
        given, experts=Experts(experts.states.index_add(2, torch.tensor([0]), torch.ones(3, 3, 1, WIDTH)))
    )
    others = replace(given, experts=Experts(experts.states.index_add(2, torch.tensor([1]), torch.ones(3, 3, 1, WIDTH))))
    manager = built("igva", image(class_token=True))
    assert not torch.equal(manager.weigh(given), manager.weigh(changed))
    assert torch.equal(manager.weigh(given), manager.weigh(others))
    pooled = built("igva", image())
    assert not torch.equal(pooled.weigh(given), pooled.weigh(others))


def test_groups_of_experts() -> None:
    assert expert_groups(2, 5) == [[1, 2], [3, 4, 5]]
    assert expert_groups(4, 2) == [[1], [2]]
    assert expert_groups([[1, -1], [2]], 3) == [[1, 3], [2]]
    for wrong in (0, True, [], [[]], [1, 2], "two"):
        with pytest.raises(UserError, match="number of groups, or lists"):
            expert_groups(wrong, 3)
    with pytest.raises(UserError, match="no expert 4"):
        expert_groups([[4]], 3)
    with pytest.raises(UserError, match="write dense, or no groups"):
        make("dense_connector", 0, integration="sparse", groups=2)


def test_mmfuser_samples_the_grid_bilinearly() -> None:
    """One head and one point that lies one column to the right and half a row down: the mean of two patches."""
    place = image(2, TokenGrid(2, 3, prefix=1))
    manager = built("mmfuser", place, heads=1, points=1)
    attention = manager.cross_attention
    with torch.no_grad():
        for zero in (attention.offset_weight, attention.attention_weight, attention.value.bias, attention.out.bias):
            zero.zero_()
        attention.offset_bias.copy_(torch.tensor([1.0, 0.5]))
        for linear in (attention.value, attention.out):
            linear.weight.copy_(torch.eye(WIDTH))
    states = torch.randn(1, 2, 7, WIDTH, generator=torch.Generator().manual_seed(0))
    key = manager.level_norm(states[0, 0, 1:]).view(2, 3, WIDTH)
    answer = attention(manager.query_norm(states[:, 1, 1:]), [key.view(1, 6, WIDTH)], (2, 3), None)[0].view(2, 3, WIDTH)
    torch.testing.assert_close(answer[0, 0], (key[0, 1] + key[1, 1]) / 2)
    torch.testing.assert_close(answer[1, 1], key[1, 2] / 2)  # half of it is below the grid
    torch.testing.assert_close(answer[0, 2], torch.zeros(WIDTH))
    given = replace(draw_inputs(place), experts=Experts(states))
    assert torch.equal(manager(given).hidden[:, 0], states[:, 1, 0]), "the class token passes"


@pytest.mark.parametrize(("tokens", "size"), [(9, TokenGrid(3, 3)), (5, TokenGrid(1, 5))])
def test_mmfuser_takes_an_image_of_another_size_for_a_square_or_a_row(tokens: int, size: TokenGrid) -> None:
    """A model of transformers may be given images that are not of its configured size."""
    states = torch.randn(1, 2, tokens, WIDTH, generator=torch.Generator().manual_seed(0))
    given = replace(draw_inputs(image(2, size)), experts=Experts(states))
    usual, other = (built("mmfuser", image(2, grid), heads=1) for grid in (size, TokenGrid(8, 8)))
    with torch.no_grad():
        usual.cross_gate.fill_(1.0)
    other.load_state_dict(usual.state_dict())
    assert torch.equal(other(given).hidden, usual(given).hidden)


def test_all_heads_of_mmfuser_read_a_text_at_the_start() -> None:
    """A text is a grid of one row, beyond which a head reads zeros and has no gradient."""
    manager = make("mmfuser", 0, heads=4)
    with torch.no_grad():
        manager.cross_gate.fill_(1.0)
        manager.self_gate.fill_(1.0)
    manager(draw_inputs(manager.place)).hidden.square().sum().backward()
    for attention in (manager.cross_attention, manager.self_attention):
        of_heads = attention.value.weight.grad.view(4, -1).abs().sum(1)
        assert of_heads.min() > 0.1 * of_heads.max()


def test_a_class_token_before_the_grid_moves_no_mean_of_mmfusers_weights() -> None:
    place = image(3, TokenGrid(2, 2, prefix=1))
    manager = built("mmfuser", place, heads=1)
    with torch.no_grad():
        manager.cross_gate.fill_(1.0)
        manager.cross_attention.attention_weight.zero_()  # all tokens weigh the levels alike
    given = draw_inputs(place)
    plain, meant = (manager(given, intervene=each, record=True) for each in (None, token_mean()))
    torch.testing.assert_close(meant.hidden, plain.hidden)
    torch.testing.assert_close(meant.weights.expand_as(plain.weights), plain.weights)


def test_deepstack_adds_each_level_once() -> None:
    given = {depth: draw_inputs(make("deepstack", depth).place) for depth in range(LAYERS)}
    for depth, added in ((0, None), (1, 0), (2, 1)):
        own = given[depth].history[-1] if depth else given[0].experts.levels[-1]
        expected = own if added is None else own + given[depth].experts.levels[added]
        assert torch.equal(make("deepstack", depth)(given[depth]).hidden, expected)
    with pytest.raises(UserError, match="no expert 9"):
        make("deepstack", 1, experts=[9])
    with pytest.raises(UserError, match=f"adds no level to {LAYERS} cross-modal layers: write at most {LAYERS - 1}"):
        make("deepstack", 0, start=LAYERS)
    with pytest.raises(UserError, match="names no expert: leave it out for all"):
        make("deepstack", 0, experts=[])


@pytest.mark.parametrize("name", ["scalar_mix", "tgif", "igva", "dense_connector", "mmfuser"])
def test_connectors_stand_in_front_of_the_first_layer_alone(name: str) -> None:
    manager = make(name, 1)
    given = draw_inputs(manager.place)
    assert torch.equal(manager(given).hidden, given.history[-1])
    assert not list(manager.parameters())
