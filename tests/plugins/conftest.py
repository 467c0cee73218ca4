"""Plug-ins written for a test, and registries that forget them afterwards."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from calling import Told, here

from mtlab.resolution.nodes import registries

#: A manager that keeps the contract; tests break it by replacing parts of the text.
MANAGER = '''
from dataclasses import dataclass
from typing import Any
import torch
from torch import nn
from mtlab.config.options import option
from mtlab.managers.base import Aggregated, Manager, Place, register_manager

@register_manager("NAME")
class Mine(Manager):
    """A static mixture."""

    @dataclass(frozen=True)
    class Config:
        sharp: float = option(1.0, "multiplies the scores", above=0.0)

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.score = nn.Parameter(torch.zeros(1, place.experts, 1, 1))

    def forward(self, inputs, *, intervene=None, record=False):
        weights = (self.config.sharp * self.score).softmax(1)
        if intervene is not None:
            weights = intervene(weights)
        hidden = (weights * inputs.experts.states).sum(1)
        return Aggregated(hidden, weights.detach())
'''
STUDY = """
kind: ablation
name: {name}
why: Does a plug-in reach every command?
plugins: [{name}]
set:
  text: {{name: tiny_text, depth: 2, width: 16, heads: 2}}
  vision: {{name: planted, depth: 3, planted: 2, width: 16, tokens: 3}}
  data: {{name: planted, train: 64, val: 24, test: 24}}
  model: {{width: 16, heads: 2, cross_layers: 2, mlp_ratio: 1}}
  train: {{batch: 16, length: {{steps: 4}}, eval_every: 2}}
axes: {{manager: [static, {name}]}}
baseline: {{manager: static}}
"""


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    kept = [(registry, dict(registry.entries), list(registry.failures)) for registry in map_filled()]
    modules, path = set(sys.modules), list(sys.path)
    yield
    for registry, entries, failures in kept:
        registry.entries, registry.failures = entries, failures
    for name in set(sys.modules) - modules:
        if name.startswith("plug_"):
            del sys.modules[name]
    sys.path[:] = path


def map_filled() -> list:
    found = registries()
    for registry in found:
        registry.import_all()
    return found


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Path]:
    """Write a plug-in and a study that uses it; return the study: `plugin("plug_x", ("old", "new"))`."""

    def write(name: str, *changes: tuple[str, str], text: str = MANAGER) -> Path:
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / f"{name}.py").write_text(text.replace("NAME", name))
        (tmp_path / f"{name}.yaml").write_text(STUDY.format(name=name))
        return tmp_path / f"{name}.yaml"

    return write


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """Run `mtlab ARGUMENTS` in this process: exit code, output, errors."""
    return here(monkeypatch, capsys)
