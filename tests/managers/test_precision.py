"""Under autocast, managers hand on the precision they were given: a float32 state makes its whole layer float32."""

from dataclasses import replace

import pytest
import torch
from by_hand import make
from test_contract import MORE

from mtlab.contract.case import BATCH, LENGTH, draw_inputs
from mtlab.managers.base import MANAGERS
from mtlab.model.projection import Embeddings, Projections, project
from mtlab.towers.base import Features, TowerShape


@pytest.mark.parametrize("name", [entry.name for entry in MANAGERS if entry.is_builtin])
@pytest.mark.parametrize("depth", [0, 2])
def test_what_was_half_precision_stays_so(name: str, depth: int) -> None:
    for options in ({}, *MORE.get(name, ())):
        manager = make(name, depth, **options)
        given = draw_inputs(manager.place, dtype=torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16):
            assert manager(given).hidden.dtype == torch.bfloat16, options


@pytest.mark.parametrize("name", ["static", "adaptive", "sparse", "static_all"])
def test_a_half_precision_model_learns_under_noise(name: str) -> None:
    manager = make(name, 2, noise=1.0).to(torch.bfloat16)
    given = draw_inputs(manager.place, dtype=torch.bfloat16)
    manager(replace(given, noise=manager.draw_noise(BATCH, LENGTH))).hidden.sum().backward()
    assert all(parameter.grad is not None for name, parameter in manager.named_parameters() if name != "key.bias")


def test_positions_of_our_own_do_not_widen_it() -> None:
    shape = TowerShape(levels=(1, 2), depth=2, widths=(8, 8), tokens=5, class_token=True, positions=False)
    projections, embeddings = Projections(shape, 16, {1, 2}), Embeddings(shape, 16, layers=True)
    features = Features(tuple(torch.randn(2, 5, 8) for _ in range(2)))
    with torch.autocast("cpu", torch.bfloat16):
        assert project(features, projections, embeddings).states.dtype == torch.bfloat16
