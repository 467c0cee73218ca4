"""Trained runs of tasks that do not answer, and of questions whose answers only a server knows."""

import json
from pathlib import Path

import polars
import pytest
import toys  # noqa: F401 - registers the data sets
from calling import Told, here
from trained_here import trained_store

from mtlab.cli import output
from mtlab.inference.evaluation import evaluate_run, parse_request
from mtlab.inference.intervention import measure
from mtlab.runs.find_run import find_run

STUDY = """
kind: ablation
name: toys
why: Something of each kind to judge.
set:
  text: {name: tiny_text, depth: 2, width: 16, heads: 2}
  vision: {name: tiny_vision, depth: 2, width: 16, heads: 2, image_size: 16, patch: 4}
  model: {width: 16, heads: 2, cross_layers: 1, mlp_ratio: 1}
  train: {batch: 12, length: {steps: 10}, eval_every: 5, lr: 5e-3}
  manager: mean
axes:
  what:
    zip:
      task: [{name: retrieval, contrastive_width: 8}, {name: pretraining}, {name: question_answering}]
      data: [{name: toy_captions, train: 48, val: 48, test: 48}, {name: toy_captions}, {name: toy_server}]
    labels: [ranking, words, server]
metrics: {choose: val/primary, verdict: val/primary}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys")
    file = folder / "toys.yaml"
    file.write_text(STUDY)
    return trained_store(file)


@pytest.fixture
def told(store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    monkeypatch.setenv("MTLAB_STORE", str(store))
    return here(monkeypatch, capsys)


def test_ranks_are_listed_for_every_caption_and_picture(told: Told, store: Path) -> None:
    code, out, err = told("eval", "toys:ranking", "--json")
    assert code == 0, err
    summary = json.loads(out)
    (result,) = [
        found["metrics"]
        for path in store.glob("cells/*/s0/result.json")
        if "val/recall" in (found := json.loads(path.read_text()))["metrics"]
    ]
    assert summary["metrics"] == {name: value for name, value in result.items() if name.startswith("val/")}
    rows = polars.read_parquet(summary["outcomes"])
    assert rows["family"].to_list() == ["image retrieval"] * 48 + ["text retrieval"] * 24
    first = rows.row(0, named=True)
    assert first["text"].startswith("a red")
    assert first["prediction"].startswith("val/")
    images = rows.filter(polars.col("family") == "image retrieval")
    assert (
        images.filter(polars.col("rank") == 1)["prediction"].to_list()
        == images.filter(polars.col("rank") == 1)["image"].to_list()
    )
    assert (images["rank"] <= 1).mean() == pytest.approx(summary["metrics"]["val/IR@1"])
    code, out, _ = told("eval", "toys:ranking")
    assert "IR@10 " in " ".join(out.split())


def test_passes_are_counted_and_only_a_task_that_runs_each_example_once_knows_of_how_many(store: Path) -> None:
    for variant, whole in (("ranking", None), ("words", 24)):
        run, steps = find_run(f"toys:{variant}:0", store), list[tuple[int, int | None]]()
        request = parse_request(run, None, None, "val")
        evaluate_run(run, request)  # which may fill the expert cache, and tell of that
        evaluate_run(run, request, progress=lambda *step, to=steps: to.append(step))
        assert {of for _, of in steps} == {whole}
        done = [each for each, _ in steps]
        assert done == sorted(set(done))
        assert done[0] == 0
        assert whole is None or done[-1] < whole
        steps.clear()
        measure(run, [], standard=True, progress=lambda *step, to=steps: to.append(step))
        assert [each for each, _ in steps] == list(range(steps[0][1] + 1))
        assert {of for _, of in steps} == {len(steps) - 1}


def test_where_no_terminal_shows_a_bar_the_passes_are_told_in_lines(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "EVERY", 0.0)
    assert "on val data: 1 so far" in told("eval", "toys:ranking")[2]


def test_of_two_things_that_are_counted_the_second_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress_bar("towers, then passes") as update:
        for done in (0, 4, 0, 4):
            update(done, 4)
    assert capsys.readouterr().err.count("towers, then passes: 0 of 4") == 2


def test_pretraining_is_judged(told: Told, tmp_path: Path) -> None:
    code, out, err = told("eval", "toys:words", "--out", tmp_path / "words.csv")
    assert code == 0, err
    assert "mlm_loss" in out
    rows = polars.read_csv(tmp_path / "words.csv")
    assert {"score", "mlm_accuracy", "itm_accuracy"} <= set(rows.columns)
    assert rows.height == 24


def test_answers_for_a_server(told: Told, tmp_path: Path) -> None:
    code, out, err = told("eval", "toys:server", "--split", "test", "--answers", tmp_path / "answers.json")
    assert code == 0, err
    assert "24 answers for the evaluation server" in out
    assert "the right answers are not public" in " ".join(out.split())
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert [row["question_id"] for row in answers] == list(range(1000, 1024))
    assert {row["answer"] for row in answers} <= {"red", "green", "blue", "white", "black", "yellow"}
    assert all(row.keys() == {"question_id", "answer"} for row in answers)
    code, out, _ = told("eval", "toys:server", "--split", "test", "--json", "--answers", tmp_path / "again.json")
    summary = json.loads(out)
    assert summary["metrics"] == {}
    assert summary["answers"] == str(tmp_path / "again.json")
    assert "score" not in polars.read_parquet(summary["outcomes"]).columns


@pytest.mark.parametrize(("run", "answers"), [("toys:ranking", False), ("toys:server", True)])
def test_no_answer_is_called_right_where_none_is_known(told: Told, run: str, answers: bool) -> None:
    example = "test/0" if run == "toys:ranking" else "test/1000"
    code, out, err = told("inspect", run, "--example", example, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["truth"], found["prediction"] is not None) == (None, answers)
    assert found["remarks"] == ([] if answers else ["it answers no questions: there is no answer to show"])


def test_that_weights_cannot_be_taken_of_another_seed_is_told(told: Told) -> None:
    code, out, err = told("intervene", "toys:ranking")
    assert code == 0, err
    assert "'retrieval' runs several passes over a text and an image" in out
    assert "no other seed" not in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("eval", "toys:ranking", "--answers", "x.json"), "the task 'retrieval' answers no questions"),
        (("eval", "toys:ranking", "--data", "toy_votes"), "data set 'toy_votes' has no captions"),
        (("intervene", "toys:words", "--swap", "1"), "'pretraining' runs several passes"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(told: Told, arguments: tuple[str, ...], expected: str) -> None:
    code, _, err = told(*arguments)
    assert code == 2
    assert expected in " ".join(err.split())
    assert len(err.strip().splitlines()) <= 2
