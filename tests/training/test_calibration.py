"""What standardises the towers' channels, where a trained tower has dropout."""

from typing import Any

import torch
from tiny_runs import tiny_config

from mtlab.training import assemble


def test_what_a_caller_draws_next_does_not_change(bert: dict[str, Any]) -> None:
    config = tiny_config(text=bert, cache={"enabled": False})
    run = assemble.assemble(config, seed=0)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assemble.calibrate(run.model, run.dataset, run.sources)
    assert torch.equal(torch.rand(3), expected)
