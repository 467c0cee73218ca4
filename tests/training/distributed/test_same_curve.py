"""Two processes learn what one does, in double precision and without dropout, and go on with each other's runs."""

import json
from pathlib import Path
from typing import Any

import polars
import pytest
import toys  # noqa: F401 - registers the data sets
from several import run
from tiny_runs import RunMaker, lines, outcome

STEPS, CUT = 50, 17
CAPTIONS = {"name": "toy_captions", "train": 54, "val": 37, "test": 21}
TOWERS = {
    "text": {"name": "tiny_text", "depth": 2, "width": 32, "heads": 2},
    "vision": {"name": "tiny_vision", "depth": 2, "width": 32, "heads": 2, "image_size": 16, "patch": 4},
}
CONTRAST = {"contrastive_width": 16, "temperature": 0.1}
EXACT: dict[str, Any] = {
    "manager": {"name": "adaptive", "noise": 0.0},
    "model": {"dropout": 0.0},
    "train": {"length": {"steps": STEPS}, "batch": 16, "eval_every": 25, "checkpoint_every": 20},
    "record": {"layers": False, "trace": False, "tokens": False},  # they look in single precision
}
ON_CAPTIONS = {**EXACT, **TOWERS, "data": CAPTIONS, "metrics": {"choose": "val/primary"}}
QUESTIONS = {**EXACT, "data": {"name": "planted", "train": 100, "val": 37, "test": 21}}
RUNS: dict[str, dict[str, Any]] = {
    "questions": QUESTIONS,
    "hard negatives": {**ON_CAPTIONS, "task": {"name": "pretraining", "objectives": ["mlm", "itm_itc"], **CONTRAST}},
    "mismatches": {**ON_CAPTIONS, "task": {"name": "pretraining", "objectives": ["mlm", "itm", "itc"], **CONTRAST}},
    "retrieval": {**ON_CAPTIONS, "task": {"name": "retrieval", "candidates": 10, **CONTRAST}},
}
#: With dropout, noise and all that is recorded: the same on two processes, however often it is cut off.
NOISY: dict[str, Any] = {
    "data": {"name": "planted", "train": 100, "val": 37, "test": 21},
    "train": {"length": {"steps": 24}, "eval_every": 6},
    "record": {"interventions": True},
}

Trained = dict[str, Path]  #: run and number of processes → its folder


@pytest.fixture(scope="module")
def trained(make_runs: RunMaker) -> Trained:
    """Train each run in one process and in two; cut some off, and go on with them in as many or in others."""
    found = {f"{name} {n}": make_runs(f"{name}{n}", **sections) for name, sections in RUNS.items() for n in (1, 2)}
    found |= {name: make_runs(name, **QUESTIONS) for name in ("questions 1-2", "questions 2-1")}
    found |= {name: make_runs(name, **NOISY) for name in ("noisy 2", "noisy 2-2")}
    one = [f"double:{found[f'{name} 1']}" for name in RUNS]
    run(1, "trains.py", [*one, f"double:{found['questions 1-2']}@{CUT}"])
    two = [f"double:{found[f'{name} 2']}" for name in RUNS]
    two += [f"double:{found['questions 2-1']}@{CUT}", f"double:{found['questions 1-2']}"]
    two += [f"single:{found['noisy 2']}", f"single:{found['noisy 2-2']}@7", f"single:{found['noisy 2-2']}"]
    told = run(2, "trains.py", two)
    assert told.count(f"resuming after step {CUT}/{STEPS}") == 1
    assert told.count("resuming after step 7/24") == 1, "all processes stopped at the step at which one was asked to"
    assert f"resuming after step {CUT}/{STEPS}" in run(1, "trains.py", [f"double:{found['questions 2-1']}"])
    return found


def close(alone: Path, together: Path) -> None:
    """Check that losses and metrics are the same but for rounding, and nothing is written twice."""
    for kind in ("train/loss", "val/loss"):
        rows, others = ([{**row, "seconds": 0} for row in lines(folder, kind)] for folder in (alone, together))
        assert [row["step"] for row in others] == [row["step"] for row in rows]
        for one, two in zip(rows, others, strict=True):
            assert two == pytest.approx(one, abs=1e-9, rel=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_curve_is_that_of_one_process(name: str, trained: Trained) -> None:
    losses = [row["train/loss"] for row in lines(trained[f"{name} 2"], "train/loss")]
    assert len(losses) == STEPS
    assert len(set(losses)) == STEPS
    close(trained[f"{name} 1"], trained[f"{name} 2"])


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_every_example_is_evaluated_once(name: str, trained: Trained) -> None:
    alone, together = (polars.read_parquet(trained[f"{name} {n}"] / "examples.parquet") for n in (1, 2))
    assert together.select("split", "id", "family").is_unique().all()
    assert alone["id"].to_list() == together["id"].to_list()
    assert alone["score"].to_list() == pytest.approx(together["score"].to_list(), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_result_is_the_same_and_says_how_many_processes_there_were(name: str, trained: Trained) -> None:
    alone, together = (json.loads((trained[f"{name} {n}"] / "result.json").read_text()) for n in (1, 2))
    assert (alone["mixes"].pop("processes"), together["mixes"].pop("processes")) == (1, 2)
    for result in (alone, together):
        for key in ("seconds", "examples_per_second", "memory_mib"):
            assert result["cost"].pop(key) > 0
    metrics = alone.pop("metrics"), together.pop("metrics")
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-9, rel=0)
    assert alone == together


@pytest.mark.slow
@pytest.mark.parametrize("name", ["questions 1-2", "questions 2-1"])
def test_a_run_goes_on_in_another_number_of_processes(name: str, trained: Trained) -> None:
    close(trained["questions 1"], trained[name])
    before, after = name[-3], name[-1]
    assert json.loads((trained[name] / "result.json").read_text())["mixes"]["processes"] == f"{before} then {after}"
    assert json.loads((trained[name] / "state.json").read_text())["processes"] == int(after)


@pytest.mark.slow
def test_in_as_many_processes_it_goes_on_as_if_undisturbed(trained: Trained) -> None:
    whole, broken = outcome(trained["noisy 2"]), outcome(trained["noisy 2-2"])
    assert whole["result"]["interventions"]["text"]["without"]
    assert broken == whole
