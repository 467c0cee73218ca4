"""Under autocast a manager has the precision of its experts: a float32 input would slow the layer that it feeds."""

from typing import Any

import pytest
import torch
from by_hand import make
from test_contract import MORE

from mtlab.contract.case import draw_inputs
from mtlab.managers.base import MANAGERS


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("name", [entry.name for entry in MANAGERS])
def test_the_hidden_state_is_as_precise_as_the_experts(name: str, depth: int) -> None:
    options: list[dict[str, Any]] = [{}, *MORE.get(name, ())]
    for each in options:
        manager = make(name, depth, **each)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = manager(draw_inputs(manager.place, dtype=torch.bfloat16)).hidden
        assert hidden.dtype == torch.bfloat16, each
