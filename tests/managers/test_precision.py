"""Under autocast, managers hand on the precision they were given: a float32 state makes its whole layer float32."""

import pytest
import torch
from by_hand import make

from mtlab.managers.base import MANAGERS
from mtlab.testing import scene


@pytest.mark.parametrize("name", [entry.name for entry in MANAGERS if entry.ours])
@pytest.mark.parametrize("depth", [0, 2])
def test_what_was_half_precision_stays_so(name: str, depth: int) -> None:
    manager = make(name, depth)
    given = scene(manager.place, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert given.run(manager).hidden.dtype == torch.bfloat16
