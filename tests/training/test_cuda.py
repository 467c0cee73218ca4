"""On a GPU a run trains in each precision, and resumes where it was stopped. Skipped without one."""

import json
from pathlib import Path

import pytest
import torch
from tiny_runs import RunMaker, lines, stopped_at

from mtlab.training.worker import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def losses(folder: Path) -> list[float]:
    return [row["val/loss"] for row in lines(folder, "val/loss")]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16_weights"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_it_trains_and_resumes(make_run: RunMaker, precision: str, optimizer: str) -> None:
    given = {"train": {"device": "cuda", "precision": precision, "optimizer": optimizer}}
    whole, stopped = make_run("whole", **given), make_run("stopped", **given)
    assert train(whole) == 0
    assert json.loads((whole / "state.json").read_text())["device"].startswith("cuda")
    assert stopped_at(stopped, 16) == 143
    assert train(stopped) == 0
    # torch sums some gradients there in no fixed order
    assert losses(stopped) == pytest.approx(losses(whole), rel=1e-3 if precision == "fp32" else 5e-2)


def test_without_chance_it_trains_as_on_the_cpu(make_run: RunMaker) -> None:
    given = {"manager": {"name": "static"}, "model": {"dropout": 0.0}}
    here = make_run("here", **given, train={"device": "cpu"})
    there = make_run("there", **given, train={"device": "cuda"})
    assert train(here) == train(there) == 0
    assert losses(there) == pytest.approx(losses(here), rel=1e-3)
