"""What the projections make of a tower's levels."""

import torch

from mtlab.model.initial import initialise
from mtlab.model.projection import PositionEmbedding, Projections
from mtlab.towers.base import Features, TokenGrid, TowerShape


def test_calibrated_projections_map_channels_of_mean_0_and_deviation_1() -> None:
    shape = TowerShape((4, 4), (1, 2), 2, 5, class_token=False, positions=True)
    projections = Projections(shape, 3, used={1, 2})
    scales, shifts = torch.tensor([0.1, 1.0, 20.0, 300.0]), torch.tensor([5.0, -2.0, 0.0, 1000.0])
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2] * 20)
    levels = [torch.randn(40, 5, 4, generator=torch.Generator().manual_seed(n)) * scales + shifts for n in (0, 1)]
    for level in levels:
        level[~mask] = 1e4  # padding must not count
    projections.calibrate(Features(tuple(levels), mask))
    for expert, level in enumerate(levels, 1):
        real = level[mask]
        weight, bias = projections.affine(expert)
        linear = projections.linear(expert)
        expected = linear((real - real.mean(0)) / real.std(0))
        torch.testing.assert_close(real @ weight.T + bias, expected, rtol=1e-3, atol=1e-3)


def test_levels_of_one_width_may_have_a_map_each() -> None:
    shape = TowerShape((4, 4), (1, 2), 2, 5, class_token=False, positions=True)
    shared, own = (Projections(shape, 3, used={1, 2}, per_level=per_level) for per_level in (False, True))
    assert shared.linear(1) is shared.linear(2)
    assert not torch.equal(own.linear(1).weight, own.linear(2).weight)
    assert set(dict(own.named_parameters())) == {f"levels.{n}.{part}" for n in (1, 2) for part in ("weight", "bias")}


def test_levels_start_alike_however_many_channels_they_have() -> None:
    shape = TowerShape((16, 320), (1, 5), 5, 8, class_token=False, positions=False)
    projections = Projections(shape, 64, used={1, 2})
    initialise(projections, 0, std=None)
    for expert, channels in enumerate(shape.widths, 1):
        level = torch.randn(500, channels, generator=torch.Generator().manual_seed(expert))
        assert abs(projections.linear(expert)(level).std().item() - 1) < 0.1
    initialise(projections, 0)
    assert abs(projections.linear(2).weight.std().item() - 0.02) < 0.001, "published: one deviation for all"


def test_initial_positions_are_alike_where_tokens_are_near() -> None:
    table = PositionEmbedding(1 + 30, 64, TokenGrid(5, 6, prefix=1)).sines()
    assert table[0].eq(0).all(), "the class token lies nowhere"
    grid = table[1:].view(5, 6, 64)
    torch.testing.assert_close(grid.mean((0, 1)), torch.zeros(64), rtol=0, atol=1e-5)
    torch.testing.assert_close(grid.std(), torch.tensor(1.0))
    apart = (grid[2, 2] - grid).norm(dim=-1)
    assert apart[2, 2] == 0
    assert apart[2].diff()[2:].gt(0).all(), "further along the row, further apart"
    assert apart[:, 2].diff()[2:].gt(0).all()
    torch.testing.assert_close(
        grid[0, 3] - grid[0, 0], grid[4, 3] - grid[4, 0], rtol=1e-4, atol=1e-5
    )  # rows add columns


def test_positions_fit_any_width_and_any_line_of_tokens() -> None:
    for width in (1, 2, 3, 6, 10):
        table = PositionEmbedding(4, width, None).sines()
        assert table.shape == (4, width)
        assert table.isfinite().all()
