import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
from safetensors.torch import save_file
from tiny_runs import RunMaker, bytes_of, lines, outcome, tiny_config, train_apart

from mtlab.data.batches import Loader
from mtlab.processes import EXIT_LOCKED
from mtlab.resolution.identity import cell_identity
from mtlab.runs import checkpoints
from mtlab.runs.lock import RunLock
from mtlab.towers.build import build_tower
from mtlab.training import worker
from mtlab.training.assemble import assemble
from mtlab.training.worker import train


def test_a_run_leaves_what_the_store_promises(make_run: RunMaker) -> None:
    folder = make_run(record={"interventions": True})
    assert train(folder) == 0
    assert set(bytes_of(folder)) == {
        "config.json",
        "state.json",
        "metrics.jsonl",
        "examples.parquet",
        "layers.safetensors",
        "trace.safetensors",
        "tokens.safetensors",
        "checkpoints/best.safetensors",
        "result.json",
        "checksums.json",
    }
    result = json.loads((folder / "result.json").read_text())
    assert (result["format"], result["steps"], result["stopped_early"]) == (1, 30, False)
    assert {"val/accuracy", "val/accuracy/sum", "val/loss", "test/accuracy", "test/loss"} <= result["metrics"].keys()
    assert {"test/accuracy_floor", "test/accuracy_floor_error/sum", "val/primary_floor"} <= result["metrics"].keys()
    assert result["metrics"]["test/accuracy_floor"] == 0.25  # four answers, equally frequent
    assert result["cost"]["params"] == {"head": 1}
    assert result["cost"]["memory_mib"] > 50
    state = json.loads((folder / "state.json").read_text())
    assert (state["attempt"], state["device"], state["threads"], state["pid"]) == (1, "cpu", 1, os.getpid())
    assert state["versions"]["torch"] == torch.__version__
    assert [row["step"] for row in lines(folder, "train/loss")] == [20, 30]
    assert [row["step"] for row in lines(folder, "val/loss")] == [8, 16, 24, 30]
    examples = polars.read_parquet(folder / "examples.parquet")
    assert examples.columns == ["split", "id", "family", "cluster", "target", "prediction", "score"]
    assert examples.group_by("split").len().sort("split").rows() == [("test", 40), ("val", 40)]
    test = examples.filter(polars.col("split") == "test")
    assert test["score"].mean() == result["metrics"]["test/accuracy"]
    assert ((test["target"] == test["prediction"]).cast(float) == test["score"]).all()


def test_the_best_checkpoint_is_the_one_that_validation_chose(make_run: RunMaker) -> None:
    folder = make_run(seed=2)
    train(folder)
    result = json.loads((folder / "result.json").read_text())
    validations = lines(folder, "val/loss")
    best = max(validations, key=lambda row: row["val/accuracy"])  # the first of equals
    assert best["val/loss"] != validations[-1]["val/loss"], "the last weights would pass, too"
    assert result["best_step"] == best["step"]
    assert {name: result["metrics"][name] for name in best if name.startswith("val/")} == pytest.approx(
        {name: value for name, value in best.items() if name.startswith("val/")}
    )
    _, metadata = checkpoints.load(folder / "checkpoints" / "best.safetensors")
    assert metadata == {"step": best["step"], "metric": "val/accuracy", "value": best["val/accuracy"]}


def test_interventions_by_weights_and_at_the_input(make_run: RunMaker) -> None:
    folder = make_run(record={"interventions": True}, text={"layers": [1, 3]})
    train(folder)
    result = json.loads((folder / "result.json").read_text())["interventions"]
    assert result["metric"] == "val/accuracy"
    assert result["text"]["by"] == "weights"
    assert result["text"]["without"].keys() == {"1", "3"}
    assert result["image"]["without"].keys() == {"1", "2", "3"}
    assert 0 <= result["image"]["uniform"] <= 1
    assert 0 <= result["text"]["token_mean"] <= 1

    folder = make_run("pooled", record={"interventions": True}, model={"cross_layers": 0}, manager={"name": "last"})
    train(folder)
    pooled = json.loads((folder / "result.json").read_text())
    for modality in ("text", "image"):
        assert pooled["interventions"][modality]["by"] == "input"
        assert pooled["interventions"][modality]["token_mean"] is None
        below = [pooled["interventions"][modality]["without"][level] for level in ("1", "2")]
        assert below == [pooled["metrics"]["val/accuracy"]] * 2  # only the top level enters without cross-modal layers


def test_nothing_is_recorded_that_is_switched_off(make_run: RunMaker) -> None:
    folder = make_run(record={"layers": False, "examples": False, "trace": False, "tokens": False})
    train(folder)
    switched_off = {"layers.safetensors", "examples.parquet", "trace.safetensors", "tokens.safetensors"}
    assert not switched_off & bytes_of(folder).keys()
    assert json.loads((folder / "result.json").read_text())["interventions"] is None


def test_a_finished_run_is_never_touched(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run()
    train(folder)
    before = bytes_of(folder)
    for rank, told in ((None, 1), ("0", 1), ("1", 0)):  # of several processes, one tells
        capsys.readouterr()
        if rank is not None:
            monkeypatch.setenv("RANK", rank)
        assert train(folder) == 0
        assert bytes_of(folder) == before
        assert capsys.readouterr().out.count("finished already") == told


def test_a_worker_whose_run_was_taken_over_does_not_finish_it(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's transition `fence`: as after a long pause of its host, before its heartbeat notices."""
    folder = make_run()
    evaluate = worker.finish

    def pause(*given: Any) -> Any:
        result = evaluate(*given)
        os.replace(folder / "config.json", folder / "lock.json")  # another file under this name: another's lock
        return result

    monkeypatch.setattr(worker, "RunLock", partial(RunLock, interval=60))
    monkeypatch.setattr(worker, "finish", pause)
    assert train(folder) == EXIT_LOCKED
    left = bytes_of(folder).keys()
    assert {"lock.json", "checkpoints/last.safetensors"} <= left
    assert not {"result.json", "checksums.json", "failure.json"} & left


@pytest.mark.slow
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


def test_two_variants_with_one_seed_share_order_and_initial_values(make_run: RunMaker) -> None:
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


def test_patience_that_ends_with_the_run_stops_nothing(make_run: RunMaker) -> None:
    folder = make_run(train={"length": {"steps": 4}, "eval_every": 2, "patience": 1, "lr": 1e-9})
    assert train(folder) == 0
    result = json.loads((folder / "result.json").read_text())
    assert (result["steps"], result["best_step"], result["stopped_early"]) == (4, 2, False)


def test_it_learns_a_tiny_set_by_heart(make_run: RunMaker) -> None:
    folder = make_run(
        data={"train": 32, "val": 20, "test": 20},
        model={"dropout": 0.0, "cross_layers": 1},
        manager={"name": "static"},
        train={"length": {"steps": 200}, "batch": 32, "eval_every": 200, "lr": 5e-3},
    )
    assert train(folder) == 0
    assert lines(folder, "train/loss")[-1]["train/loss"] < 0.05


@pytest.mark.slow
def test_on_cached_features_neither_timm_nor_transformers_is_imported(make_run: RunMaker) -> None:
    sections = {
        "text": {"name": "minilm"},
        "data": {"train": 32, "val": 8, "test": 8},
        "train": {"length": {"steps": 2}},
    }
    first, second = make_run("first", **sections), make_run("second", manager={"name": "bridge"}, **sections)
    assert train_apart(first) == 0
    program = (
        "import sys\nfrom pathlib import Path\nfrom mtlab.training.worker import train\n"
        "code = train(Path(sys.argv[1]))\n"
        "found = {'timm', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'imported {found}' if found else code)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(second)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_raw_towers_in_the_loop_agree_with_their_cache(make_run: RunMaker) -> None:
    """The first loss agrees to 1e-5; trajectories part, as tower outputs depend on the batch."""
    settings = {"train": {"length": {"steps": 1}}, "cache": {"dtype": "float32"}}
    cached, raw = make_run("cached", **settings), make_run("raw", **{**settings, "cache": {"enabled": False}})
    assert train(cached) == train(raw) == 0
    losses = [lines(folder, "train/loss")[0]["train/loss"] for folder in (cached, raw)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_compiled_model_learns_the_same(make_run: RunMaker) -> None:
    plain, compiled = (make_run(name, model={"cross_layers": 1, "dropout": 0.0}) for name in ("plain", "compiled"))
    config = json.loads((compiled / "config.json").read_text())
    config["config"]["train"]["compile"] = True
    (compiled / "config.json").write_text(json.dumps(config))
    assert train(plain) == train_apart(compiled) == 0
    for kind in ("train/loss", "val/loss"):
        one, two = ([row[kind] for row in lines(folder, kind)] for folder in (plain, compiled))
        assert one == pytest.approx(two, rel=1e-4)


def test_data_that_changed_since_the_plan_are_refused(make_run: RunMaker) -> None:
    """Else results on other data would carry the id of these."""
    folder = make_run()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"identity": {"digests": {"data": "other files"}}}))
    assert train(folder) == 2
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["kind"] == "input"
    assert failure["error"].startswith("data: the data have changed since this run was planned")
    (folder / "config.json").write_text(json.dumps(config | {"identity": {"digests": {"data": ""}}}))
    assert train(folder) == 0


def test_weights_of_a_tower_that_were_replaced_since_the_plan_are_refused(make_run: RunMaker, tmp_path: Path) -> None:
    weights = tmp_path / "vit.safetensors"
    node = {"name": "clip_vit", "width": 16, "depth": 2, "heads": 2, "patch": 8, "image_size": 16}
    save_file(build_tower("vision", node).network.state_dict(), weights)
    folder = make_run(
        vision=node | {"weights": str(weights)}, data={"name": "shapes", "train": 16, "val": 8, "test": 8}
    )
    config = json.loads((folder / "config.json").read_text())
    content = config | {"identity": cell_identity(config["config"]).hashed}
    (folder / "config.json").write_text(json.dumps(content))
    save_file(build_tower("vision", node | {"seed": 1}).network.state_dict(), weights)
    assert train(folder) == 2
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["kind"] == "input"
    assert failure["error"].startswith(
        "vision: the weights of the vision tower have changed since this run was planned"
    )


def test_waiting_for_data_is_time_of_training_but_for_the_first_batch(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, waits = Loader.steps, iter([1e6, *[100.0] * 19])  # the first: start-up

    def slow(*args: Any, **options: Any) -> Iterator[Any]:
        for batch in steps(*args, **options):
            clock.append(next(waits))
            yield batch

    clock: list[float] = []
    monkeypatch.setattr(Loader, "steps", slow)
    real = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: real() + sum(clock))
    folder = make_run(train={"length": {"steps": 20}})
    assert train(folder) == 0
    assert 1900 <= json.loads((folder / "result.json").read_text())["cost"]["seconds"] < 1e6
