"""`mtlab eval`: a finished run judged again, and left as it is."""

import json
import shutil
from pathlib import Path
from typing import cast

import numpy as np
import polars
import pytest
from calling import Told, here
from trained_here import trained_store

from mtlab.data.base import Example
from mtlab.errors import UserError
from mtlab.inference import evaluation
from mtlab.runs.find_run import FinishedRun
from mtlab.runs.store import Store
from mtlab.tasks.evaluation import Evaluation


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one finished study: two variants with two seeds, of which the first is finished."""
    folder = tmp_path_factory.mktemp("evaluated")
    file = folder / "eval.yaml"
    file.write_text(
        "kind: ablation\nname: small\nwhy: Something to judge.\n"
        "set:\n"
        "  text: {name: planted, depth: 2, planted: 1, width: 16, tokens: 2}\n"
        "  vision: {name: planted, depth: 2, planted: 1, width: 16, tokens: 2}\n"
        "  data: {name: planted, train: 200, val: 40, test: 40}\n"
        "  model: {width: 16, heads: 2, cross_layers: 1, mlp_ratio: 1}\n"
        "  train: {batch: 20, length: {steps: 30}, eval_every: 10, lr: 5e-3}\n"
        "axes: {manager: [{name: static, label: 'static: mine'}, mean]}\nseeds: 2\n"
    )
    return trained_store(file, lambda config: config["seed"] == 0)


@pytest.fixture
def told(store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    monkeypatch.setenv("MTLAB_STORE", str(store))
    return here(monkeypatch, capsys, "eval")


def directory(store: Path, label: str = "static: mine", seed: int = 0) -> Path:
    plan = Store.open(store).plan("small")
    (run,) = [run["id"] for run in plan["runs"] if (run["label"], run["seed"]) == (label, seed)]
    return store / "cells" / run


def test_its_own_data_give_its_own_numbers_and_nothing_in_it_changes(told: Told, store: Path) -> None:
    run = directory(store)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}
    metrics = json.loads((run / "result.json").read_text())["metrics"]
    for split in ("val", "test"):
        code, out, err = told("small:static: mine:0", "--split", split, "--json")
        assert code == 0, err
        judged = json.loads(out)
        page = (Path(__file__).parents[2] / "docs/json.md").read_text()
        assert not {key for key in judged if f"`{key}`" not in page}
        own_metrics = {name: value for name, value in metrics.items() if name.startswith(split)}
        assert judged["metrics"] == own_metrics
        assert (judged["own_data"], judged["unanswerable"]["examples"]) == (True, 0)
        assert Path(judged["outcomes"]).is_relative_to(store / "derived" / run.parent.name / "s0")
        rows = polars.read_parquet(judged["outcomes"])
        own = polars.read_parquet(run / "examples.parquet").filter(polars.col("split") == split)
        assert rows["id"].to_list() == own["id"].to_list()
        assert rows["score"].to_list() == own["score"].to_list()
        assert rows["prediction"].cast(int).to_list() == own["prediction"].to_list()
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}
    assert after == before


def test_validation_is_the_default_and_test_is_told(told: Told) -> None:
    assert " · val · 40 examples" in told("small:mean:0")[1]
    out = told("small:mean:0", "--split", "test")[1]
    assert " · test · 40 examples" in out
    assert "test data was read, since --split test asks for it" in " ".join(out.split())


def test_answers_are_matched_by_name_and_unknown_ones_count_as_wrong(told: Told, tmp_path: Path) -> None:
    code, out, err = told("small:mean:0", "--data", "classes=8", "--out", tmp_path / "more.jsonl")
    assert code == 0, err
    assert "20 of 40 questions have a right answer that the model does not know" in " ".join(out.split())
    rows = polars.read_ndjson(tmp_path / "more.jsonl")
    assert rows.filter(~polars.col("answerable"))["score"].to_list() == [0.0] * 20
    assert set(rows.filter("answerable")["target"]) == {"0", "1", "2", "3"}
    assert set(rows["prediction"]) <= {"0", "1", "2", "3"}


def test_the_order_of_the_answers_does_not_matter() -> None:
    from mtlab.inference.evaluation import map_targets

    asked = [Example(str(n), "", "", target, "") for n, target in enumerate((0, 1, 2, -1))]
    mapped = map_targets(asked, ("red", "green", "blue"), ("blue", "black", "red"))
    assert [each.target for each in mapped] == [2, -1, 0, -1]
    with pytest.raises(UserError, match="none of these answers"):
        map_targets(asked, ("one", "two", "three"), ("blue",))


@pytest.mark.parametrize(("annotators", "lesser"), [((), 0.3), (("dog",) * 9 + ("cat",), 0.3)])
def test_scores_of_answers_that_training_lacks_count_where_answers_are_generated(
    annotators: tuple[str, ...], lesser: float
) -> None:
    from mtlab.inference.evaluation import map_targets
    from mtlab.tasks.answers.generated import credit, number_answers

    asked = Example("0", "", "", 1, "", scores=((1, 1.0), (0, 0.3)), annotators=annotators)
    (mapped,) = map_targets([asked], ("cat", "dog"), ("cat", "cow"), generates=True)
    numbers = number_answers(("cat", "cow"))
    scores = [credit(said, mapped, mapped.answer, numbers) for said in ("the dog", "cat", "cow")]
    assert scores == pytest.approx([1.0, lesser, 0.0])


def test_a_question_is_answerable_by_any_answer_that_scores() -> None:
    from mtlab.inference.evaluation import EvaluatedRun, EvaluationRequest

    asked = [
        Example("0", "", "", 1, "", scores=((1, 1.0), (0, 0.6))),
        Example("1", "", "", 1, "", scores=((1, 1.0), (0, 0.0))),
        Example("2", "", "", 0, "", scores=((0, 1.0),)),
    ]
    judged = Evaluation(
        loss=0.0,
        ids=["0", "1", "2"],
        families=[""] * 3,
        clusters=[""] * 3,
        scores={"score": np.array([0.6, 0.0, 1.0])},
        targets=np.array([-1, -1, 0]),
        predictions=np.zeros(3, np.int64),
    )
    run, request = cast("FinishedRun", None), EvaluationRequest({}, {}, "val", own_data=False)
    evaluated = EvaluatedRun(run, request, 1, "cpu", ("cat", "cow"), ("cat", "dog"), asked, judged, hidden=False)
    assert evaluated.unknown == {"dog": 1}
    assert evaluated.table().select("answerable", "score").rows() == [(True, 0.6), (False, 0.0), (True, 1.0)]


def test_a_run_may_be_named_in_many_ways(told: Told, store: Path, tmp_path: Path) -> None:
    run = directory(store, "mean")
    cell = f"{run.parent.name}/s0"
    for name in ("small:mean:0", run, run / "checkpoints/best.safetensors", cell):
        code, out, err = told(name, "--json")
        assert code == 0, err
        assert json.loads(out)["run"] == cell
    code, _, err = told("small:mean:0", "--out", tmp_path / "deep/er/all.csv")
    assert code == 0, err
    assert polars.read_csv(tmp_path / "deep/er/all.csv").height == 40
    elsewhere = tmp_path / "copied/s0"
    elsewhere.parent.mkdir()
    shutil.copytree(run, elsewhere)
    code, _, err = told(elsewhere)
    assert code == 2
    assert "lies in no store: say by --out where the outcomes go" in err
    assert told(elsewhere, "--out", tmp_path / "copied.csv")[0] == 0


def test_other_data_fill_the_expert_cache_and_are_read_from_it(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtlab.towers.planted import PlantedTower

    monkeypatch.setenv("MTLAB_CACHE", str(tmp_path / "cache"))
    words = ("small:static: mine:0", "--data", "test=30", "--split", "test", "--out", tmp_path / "out.csv")
    assert told(*words)[0] == 0
    first = (tmp_path / "out.csv").read_text()
    assert len(list((tmp_path / "cache/experts").glob("[!.]*"))) >= 2

    def forward(*_: object) -> None:
        raise AssertionError("a frozen tower ran again")

    monkeypatch.setattr(PlantedTower, "forward", forward)
    assert told(*words)[0] == 0
    assert (tmp_path / "out.csv").read_text() == first


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["smal:mean:0"], "no run 'smal:mean:0' in"),
        (["small:maen:0"], "study 'small' has no variant 'maen'; did you mean 'mean'?"),
        (["small:mean:7"], "'small:mean:7' has no seed 7; seeds: 0, 1"),
        (["small:static: mine"], "could be 2 runs: name one, such as small:static: mine:0, small:static: mine:1"),
        (["small"], "'small' could be 4 runs"),
        (["small:mean:1"], "this run is not finished"),
        (["/usr"], "is no run's folder"),
        (["nothing.safetensors"], "nothing.safetensors: no such checkpoint"),
        (["small:mean:0", "--split", "tset"], "Invalid value for '--split'"),
        (["small:mean:0", "--out", "x.txt"], "--out: .txt: expected one of .parquet, .csv, .jsonl"),
        (["small:mean:0", "--data", "plantd"], "--data name: unknown dataset 'plantd'; did you mean 'planted'?"),
        (["small:mean:0", "--data", "clases=3"], "--data clases: unknown key; did you mean 'classes'?"),
        (["small:mean:0", "--data", "planted,classes"], "'classes': expected OPTION=VALUE"),
        (["small:mean:0", "--data", "classes=x"], "--data classes: "),
        (
            ["small:mean:0", "--data", "shards,folder=https://me:word@host/x"],
            "--data folder: holds a password in a URL",
        ),
        (
            ["small:mean:0", "--data", "shapes,train=64,val=24,families=[count]"],
            "read the texts of data set `planted` alone",
        ),
        (["small:mean:0", "--task", "entailment"], "was trained for 'question_answering'"),
        (
            ["small:mean:0", "--task", "head_layers=1"],
            "--task: a model with these options cannot take the run's weights",
        ),
        (["small:mean:0", "--device", "tpu"], "--device: 'tpu'"),
    ],
)
def test_wrong_input_is_told_in_one_line(told: Told, arguments: list[str], expected: str) -> None:
    code, _, err = told(*arguments)
    assert code == 2
    assert expected in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["--out", "--answers"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_computed(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr(evaluation, "evaluate_run", lambda *_, **__: pytest.fail("it was evaluated"))
    (tmp_path / "file").write_text("no folder")
    code, out, err = told("small:mean:0", option, tmp_path / "file" / "outcomes.csv")
    assert (code, out) == (2, "")
    assert "cannot be written" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("part", "name", "value", "expected"),
    [
        ("versions", "data:planted", 0, "was trained with version 0 of dataset 'planted', which is version 1 here"),
        ("digests", "data", "of other files", "data: its data have changed since, or are not here"),
        ("digests", "text", "of other weights", "text: the weights of its text tower have changed since"),
    ],
)
def test_what_has_changed_since_training_is_refused(
    told: Told, store: Path, tmp_path: Path, part: str, name: str, value: object, expected: str
) -> None:
    run = tmp_path / "s0"
    shutil.copytree(directory(store, "mean"), run)
    config = json.loads((run / "config.json").read_text())
    config["identity"][part][name] = value
    (run / "config.json").write_text(json.dumps(config))
    code, _, err = told(run, "--out", tmp_path / "x.csv")
    assert (code, err) == (2, f"error: {run}: {err.partition(f'{run}: ')[2]}")
    assert expected in err
    assert err.count("\n") == 1


def test_a_damaged_checkpoint_is_told(told: Told, store: Path, tmp_path: Path) -> None:
    run = tmp_path / "s0"
    shutil.copytree(directory(store, "mean"), run)
    file = run / "checkpoints/best.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    code, _, err = told(run, "--out", tmp_path / "x.csv")
    assert code == 2
    assert "has changed since it was written" in err
    assert not (tmp_path / "x.csv").exists()
