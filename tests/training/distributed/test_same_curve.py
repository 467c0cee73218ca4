"""Two processes learn what one does, in double precision and without dropout: step by step, and when they judge."""

import json
from pathlib import Path
from typing import Any

import polars
import pytest
import toys  # noqa: F401 - registers the data sets
from several import run
from tiny_runs import RunMaker, lines

STEPS = 50
CAPTIONS = {"name": "toy_captions", "train": 54, "val": 37, "test": 21}
TOWERS = {
    "text": {"name": "tiny_text", "depth": 2, "width": 32, "heads": 2},
    "vision": {"name": "tiny_vision", "depth": 2, "width": 32, "heads": 2, "image_size": 16, "patch": 4},
}
TRAIN = {"length": {"steps": STEPS}, "batch": 16, "eval_every": 25, "checkpoint_every": 20}
CONTRAST = {"contrastive_width": 16, "temperature": 0.1}
RECORD = {"layers": False, "trace": False, "tokens": False}  # they look in single precision
RUNS: dict[str, dict[str, Any]] = {
    "questions": {
        "manager": {"name": "adaptive", "noise": 0.0},
        "model": {"dropout": 0.0},
        "data": {"name": "planted", "train": 100, "val": 37, "test": 21},
        "train": TRAIN,
    },
    "pretraining": {
        **TOWERS,
        "manager": {"name": "static"},
        "model": {"dropout": 0.0},
        "task": {"name": "pretraining", "objectives": ["mlm", "itm_itc"], **CONTRAST},
        "data": CAPTIONS,
        "train": TRAIN,
        "metrics": {"choose": "val/primary"},
    },
    "mismatched": {
        **TOWERS,
        "manager": {"name": "static"},
        "model": {"dropout": 0.0},
        "task": {"name": "pretraining", "objectives": ["mlm", "itm", "itc"], **CONTRAST},
        "data": CAPTIONS,
        "train": TRAIN,
        "metrics": {"choose": "val/primary"},
    },
    "retrieval": {
        **TOWERS,
        "manager": {"name": "adaptive", "noise": 0.0},
        "model": {"dropout": 0.0},
        "task": {"name": "retrieval", "candidates": 10, **CONTRAST},
        "data": CAPTIONS,
        "train": TRAIN,
        "metrics": {"choose": "val/primary"},
    },
}


@pytest.fixture(scope="module")
def trained(make_runs: RunMaker) -> dict[int, dict[str, Path]]:
    """Train each run in one process and in two."""
    found = {}
    for processes in (1, 2):
        found[processes] = {
            name: make_runs(f"{name}{processes}", **sections, record=RECORD) for name, sections in RUNS.items()
        }
        run(processes, "in_double.py", ["double", *map(str, found[processes].values())])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_curve_is_that_of_one_process(name: str, trained: dict[int, dict[str, Path]]) -> None:
    alone, together = (lines(trained[processes][name], "train/loss") for processes in (1, 2))
    assert [row["step"] for row in together] == list(range(1, STEPS + 1))
    for one, two in zip(alone, together, strict=True):
        assert two["train/loss"] == pytest.approx(one["train/loss"], abs=1e-9, rel=0)
    assert alone[-1]["train/loss"] != alone[0]["train/loss"]
    alone, together = (lines(trained[processes][name], "val/loss") for processes in (1, 2))
    assert len(together) == 2
    for one, two in zip(alone, together, strict=True):
        del one["seconds"], two["seconds"]
        assert two == pytest.approx(one, abs=1e-9, rel=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_every_example_is_judged_once(name: str, trained: dict[int, dict[str, Path]]) -> None:
    alone, together = (polars.read_parquet(trained[processes][name] / "examples.parquet") for processes in (1, 2))
    assert alone["id"].to_list() == together["id"].to_list()
    assert together.select("split", "id", "family").is_unique().all()
    assert alone["score"].to_list() == pytest.approx(together["score"].to_list(), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_result_says_how_many_processes_there_were(name: str, trained: dict[int, dict[str, Path]]) -> None:
    alone, together = (json.loads((trained[processes][name] / "result.json").read_text()) for processes in (1, 2))
    assert (alone["mixes"].pop("processes"), together["mixes"].pop("processes")) == (1, 2)
    for result in (alone, together):
        for key in ("seconds", "examples_per_second", "memory_mib"):
            del result["cost"][key]
    assert alone["metrics"] == pytest.approx(together["metrics"], abs=1e-9, rel=0)
    assert alone["cost"] == together["cost"]
