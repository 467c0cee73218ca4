"""Two processes train with bfloat16 weights as one does, and go on exactly where they were cut off."""

from typing import Any

import pytest
from several import run
from tiny_runs import RunMaker, lines, outcome

from mtlab.training.worker import train

SETTINGS: dict[str, Any] = {
    "train": {"precision": "bf16_weights"},
    "manager": {"noise": 0.0},
    "model": {"dropout": 0.0},
}


@pytest.mark.slow
def test_two_processes_follow_one_and_resume_exactly(make_run: RunMaker) -> None:
    alone, together, cut = (make_run(name, **SETTINGS) for name in ("alone", "together", "cut"))
    assert train(alone) == 0
    told = run(2, "trains.py", [f"single:{together}", f"single:{cut}@7", f"single:{cut}"])
    assert "resuming after step 7/30" in told
    assert outcome(cut) == outcome(together)
    curves = [[row["val/loss"] for row in lines(folder, "val/loss")] for folder in (alone, together)]
    assert curves[1] == pytest.approx(curves[0], rel=0.02)
