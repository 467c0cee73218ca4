"""What the projections make of a tower's levels."""

import torch

from mtlab.model.projection import Projections
from mtlab.towers.base import Features, TowerShape


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
