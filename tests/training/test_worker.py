import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
from conftest import RunMaker
from tiny_runs import outcome, start, train_apart

from mtlab.training import checkpoints, loop
from mtlab.training.worker import train


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if kind in row]


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


def bytes_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_run_leaves_what_the_store_promises(make_run: RunMaker) -> None:
    folder = make_run(record={"interventions": True})
    assert train(folder) == 0
    assert set(bytes_of(folder)) == {
        "config.json",
        "state.json",
        "metrics.jsonl",
        "examples.parquet",
        "layers.safetensors",
        "checkpoints/best.safetensors",
        "result.json",
    }
    result = json.loads((folder / "result.json").read_text())
    assert (result["format"], result["steps"], result["stopped_early"]) == (1, 30, False)
    assert {"val/accuracy", "val/accuracy/sum", "val/loss", "test/accuracy", "test/loss"} <= result["metrics"].keys()
    assert result["cost"]["params"] == {"head": 1}
    assert result["cost"]["memory_mib"] > 50
    state = json.loads((folder / "state.json").read_text())
    assert (state["attempt"], state["device"], state["threads"], state["pid"]) == (1, "cpu", 1, os.getpid())
    assert state["versions"]["torch"] == torch.__version__
    assert [row["step"] for row in lines(folder, "train/loss")] == [20, 30]
    assert [row["step"] for row in lines(folder, "val/loss")] == [8, 16, 24, 30]
    examples = polars.read_parquet(folder / "examples.parquet")
    assert examples.columns == ["split", "id", "family", "target", "prediction", "score"]
    assert examples.group_by("split").len().sort("split").rows() == [("test", 40), ("val", 40)]
    test = examples.filter(polars.col("split") == "test")
    assert test["score"].mean() == result["metrics"]["test/accuracy"]
    assert ((test["target"] == test["prediction"]).cast(float) == test["score"]).all()


def test_the_best_checkpoint_is_the_one_that_validation_chose(make_run: RunMaker) -> None:
    folder = make_run()
    train(folder)
    result = json.loads((folder / "result.json").read_text())
    best = max(lines(folder, "val/loss"), key=lambda row: row["val/accuracy"])  # the first of equals
    assert result["best_step"] == best["step"]
    assert {name: result["metrics"][name] for name in best if name.startswith("val/")} == pytest.approx(
        {name: value for name, value in best.items() if name.startswith("val/")}
    )
    _, metadata = checkpoints.load(folder / "checkpoints" / "best.safetensors")
    assert metadata == {"step": best["step"], "metric": "val/accuracy", "value": best["val/accuracy"]}


def test_recorded_layers_are_labelled_means(make_run: RunMaker) -> None:
    folder = make_run(vision={"layers": "top2"})
    train(folder)
    tensors, metadata = checkpoints.load(folder / "layers.safetensors")
    assert metadata["levels"] == {"text": [1, 2, 3], "image": [2, 3]}
    assert metadata["labels"]["weights/image/1"] == ["level 2", "level 3", "previous 1"]
    assert {name: tuple(values.shape) for name, values in tensors.items()} == {
        f"{kind}/{modality}/{depth}": (experts + depth,)
        for kind in ("weights", "contributions")
        for modality, experts in (("text", 3), ("image", 2))
        for depth in (0, 1)
    }
    assert tensors["weights/image/0"].sum().item() == pytest.approx(1)
    assert tensors["contributions/text/1"].sum().item() == pytest.approx(1)


def test_interventions_by_weights_and_at_the_input(make_run: RunMaker) -> None:
    folder = make_run(record={"interventions": True}, text={"layers": [1, 3]})
    train(folder)
    result = json.loads((folder / "result.json").read_text())["interventions"]
    assert result["metric"] == "val/accuracy"
    assert result["text"]["by"] == "weights"
    assert result["text"]["without"].keys() == {"1", "3"}
    assert result["image"]["without"].keys() == {"1", "2", "3"}
    assert 0 <= result["image"]["uniform"] <= 1

    folder = make_run("pooled", record={"interventions": True}, model={"cross_layers": 0})
    train(folder)
    pooled = json.loads((folder / "result.json").read_text())
    for modality in ("text", "image"):
        assert pooled["interventions"][modality]["by"] == "input"
        below = [pooled["interventions"][modality]["without"][level] for level in ("1", "2")]
        assert below == [pooled["metrics"]["val/accuracy"]] * 2  # only the top level enters without cross-modal layers


def test_nothing_is_recorded_that_is_switched_off(make_run: RunMaker) -> None:
    folder = make_run(record={"layers": False, "examples": False})
    train(folder)
    assert not {"layers.safetensors", "examples.parquet"} & bytes_of(folder).keys()
    assert json.loads((folder / "result.json").read_text())["interventions"] is None


def test_a_finished_run_is_never_touched(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run()
    train(folder)
    before = bytes_of(folder)
    assert train(folder) == 0
    assert bytes_of(folder) == before
    assert "finished already" in capsys.readouterr().out


def test_the_same_run_twice_gives_the_same_results(make_run: RunMaker) -> None:
    one, two = make_run("one"), make_run("two")
    assert train(one) == train_apart(two) == 0
    assert outcome(one) == outcome(two)
    other = make_run("three", seed=1)
    train(other)
    assert outcome(other)["metrics"] != outcome(one)["metrics"]


def test_cadences_that_are_no_identity_change_no_result(make_run: RunMaker) -> None:
    one, two = make_run("one"), make_run("two", train={"checkpoint_every": 7})
    assert train(one) == train(two) == 0
    assert outcome(one) == outcome(two)


def killed_until_done(folder: Path, kills: int, longest: float, seed: int) -> list[int | None]:
    """Kill the worker at random moments, `kills` times at most, then let it finish; return the exit codes."""
    dice, codes = random.Random(seed), []
    for _ in range(kills):
        process = start(folder)
        process.join(dice.uniform(0, longest))
        process.kill()
        process.join()
        codes.append(process.exitcode)
        if process.exitcode == 0:
            break
    return [*codes, train_apart(folder)]


def resumes_exactly(make_run: RunMaker, kills: int, seed: int) -> None:
    settings = {"train": {"length": {"steps": 60}, "eval_every": 7, "checkpoint_every": 3}}
    whole = make_run("whole", **settings)
    started = time.monotonic()
    assert train_apart(whole) == 0
    took = time.monotonic() - started
    broken = make_run("broken", **settings)
    codes = killed_until_done(broken, kills, took, seed)
    assert codes[-1] == 0
    assert codes.count(-signal.SIGKILL) >= 1
    assert outcome(broken) == outcome(whole)


def test_killed_at_random_moments_it_ends_as_if_undisturbed(make_run: RunMaker) -> None:
    resumes_exactly(make_run, kills=3, seed=random.SystemRandom().randrange(10**6))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_at_twenty_random_moments(make_run: RunMaker, seed: int) -> None:
    resumes_exactly(make_run, kills=20, seed=seed)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_asked_to_stop_it_keeps_its_state(make_run: RunMaker, number: signal.Signals, code: int) -> None:
    settings = {"train": {"length": {"steps": 60}, "checkpoint_every": 1000}}
    whole, stopped = make_run("whole", **settings), make_run("stopped", **settings)
    train(whole)
    process = start(stopped)
    wait_for(lambda: (stopped / "metrics.jsonl").exists() and lines(stopped, "val/loss"))
    os.kill(process.pid or 0, number)
    process.join()
    assert process.exitcode == code
    _, state = checkpoints.load(stopped / "checkpoints" / "last.safetensors")
    assert 8 <= state["step"] < 60
    assert not {"failure.json", "lock.json", "result.json"} & bytes_of(stopped).keys()
    assert train_apart(stopped) == 0
    assert json.loads((stopped / "state.json").read_text())["attempt"] == 2
    assert outcome(stopped) == outcome(whole)


def interrupted_at(folder: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Send SIGTERM when the loop has done `step` steps; return the exit code."""
    real = loop.train_step

    def stepping(*args: Any, **kwargs: Any) -> torch.Tensor:
        if kwargs["step"] == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", stepping)
        return train(folder)


def test_interrupted_before_a_validation_it_validates_after_resuming(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = make_run("whole"), make_run("stopped")
    train(whole)
    assert interrupted_at(stopped, 16, monkeypatch) == 143
    assert [row["step"] for row in lines(stopped, "val/loss")] == [8]
    assert train(stopped) == 0
    assert outcome(stopped) == outcome(whole)


def test_a_best_checkpoint_ahead_of_the_last_one_is_chosen_anew(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"train": {"checkpoint_every": 10}}
    whole, broken = make_run("whole", **settings), make_run("broken", **settings)
    train(whole)
    chosen = json.loads((whole / "result.json").read_text())["best_step"]
    interrupted_at(broken, 5, monkeypatch)
    (broken / "checkpoints" / "best.safetensors").write_bytes((whole / "checkpoints" / "best.safetensors").read_bytes())
    assert chosen > 5
    assert train(broken) == 0
    assert outcome(broken) == outcome(whole)


def test_a_corrupt_last_checkpoint_is_told_and_set_aside(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = make_run("whole"), make_run("broken")
    train(whole)
    interrupted_at(broken, 20, monkeypatch)
    last = broken / "checkpoints" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-10])
    assert train(broken) == 0
    assert "last.safetensors.corrupt" in capsys.readouterr().out
    assert (broken / "checkpoints" / "last.safetensors.corrupt").exists()
    assert outcome(broken) == outcome(whole)


def test_two_variants_with_one_seed_share_order_and_initial_values(make_run: RunMaker) -> None:
    from tiny_runs import tiny_config

    from mtlab.training.assemble import assemble

    runs = [assemble(tiny_config(manager={"name": name}), seed=3) for name in ("last", "bridge", "static", "adaptive")]
    orders = [
        [next(iter(step)).rows for step, _ in zip(run.loader("train").steps(3, 16, 16), range(20), strict=False)]
        for run in runs
    ]
    assert all(order == orders[0] for order in orders)
    first = dict(runs[0].model.named_parameters())
    for run in runs[1:]:
        shared = {n: p for n, p in run.model.named_parameters() if n in first and ".managers." not in n}
        assert len(shared) > 40
        assert all(torch.equal(parameter, first[name]) for name, parameter in shared.items())


def test_early_stopping_after_patience_validations_without_a_better_one(make_run: RunMaker) -> None:
    folder = make_run(train={"length": {"steps": 400}, "eval_every": 4, "patience": 2, "lr": 1e-9})
    assert train(folder) == 0
    result = json.loads((folder / "result.json").read_text())
    rows = lines(folder, "val/loss")
    assert result["stopped_early"]
    assert result["steps"] == rows[-1]["step"] < 400
    assert result["best_step"] == rows[-3]["step"]


def test_a_loss_that_is_no_number_fails_as_nan(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(train={"lr": 1e30, "clip": None, "warmup": 0.0})
    assert train(folder) == 3
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["kind"] == "nan"
    assert "loss is" in failure["error"]
    assert failure["attempt"] == 1
    assert not (folder / "result.json").exists()
    assert train(folder) == 3
    assert json.loads((folder / "failure.json").read_text())["attempt"] == 2


@pytest.mark.parametrize(
    ("error", "kind", "code", "said"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 GB"), "oom", 3, "micro_batch"),
        (torch.OutOfMemoryError("CUDA out of memory"), "oom", 3, "micro_batch"),
        (ZeroDivisionError("division by zero"), "bug", 3, "ZeroDivisionError: division by zero"),
    ],
)
def test_failures_are_classified(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str, code: int, said: str
) -> None:
    def failing(*_: Any, **__: Any) -> torch.Tensor:
        raise error

    monkeypatch.setattr(loop, "train_step", failing)
    folder = make_run()
    assert train(folder) == code
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["kind"] == kind
    assert said in failure["error"]
    assert "test_worker.py" in failure["where"]
    assert "failing" in failure["trace"]
    monkeypatch.undo()
    assert train(folder) == 0
    assert not (folder / "failure.json").exists()


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"train": {"device": "cuda:7"}}, "train.device"),
        ({"metrics": {"choose": "val/accuracy/nothing"}}, "metrics.choose"),
    ],
)
def test_the_users_mistakes_exit_with_two(
    make_run: RunMaker, sections: dict[str, Any], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(**sections)
    assert train(folder) == 2
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["kind"] == "input"
    assert key in failure["error"]
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path) == 2
    assert "no run directory" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_two_workers_of_one_run_cannot_work_at_once(make_run: RunMaker) -> None:
    folder = make_run(train={"length": {"steps": 300}})
    first = start(folder)
    wait_for((folder / "lock.json").exists)
    assert train_apart(folder) == 75
    first.terminate()
    first.join()
    assert first.exitcode == 143


def test_it_learns_a_tiny_set_by_heart(make_run: RunMaker) -> None:
    folder = make_run(
        data={"train": 32, "val": 20, "test": 20},
        model={"dropout": 0.0},
        manager={"noise": 0.0},
        train={"length": {"steps": 200}, "batch": 32, "eval_every": 200, "lr": 5e-3},
    )
    assert train(folder) == 0
    assert lines(folder, "train/loss")[-1]["train/loss"] < 0.05
