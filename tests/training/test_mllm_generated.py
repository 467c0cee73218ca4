"""Runs whose language model generates its answers: open questions of one's own, scored in words."""

import json
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
from PIL import Image
from tiny_mllm import tiny_language_model
from tiny_runs import RunMaker, lines, train

from mtlab.data.base import Example
from mtlab.inference.api import load
from mtlab.inference.evaluation import evaluate_run, parse_request
from mtlab.model.mllm.encoder import LanguageModelEncoder
from mtlab.runs.find_run import find_run
from mtlab.tasks.answers.generated import _predicted, credit, number_answers

COLOURS = {"red": (200, 20, 20), "blue": (20, 20, 200)}
WORDS = ["<pad>", "<end>", "Question:", "Answer:", "colour", "The", "red", "blue", "dark", "a", "?"]


@pytest.fixture
def questions(tmp_path: Path) -> dict[str, Any]:
    """Sections of a run on questions whose validation has an answer that training has not."""
    folder = tmp_path / "questions"
    (folder / "images").mkdir(parents=True)
    for name, colour in COLOURS.items():
        Image.new("RGB", (32, 32), colour).save(folder / "images" / f"{name}.png")
    for split, count in (("train", 32), ("val", 8), ("test", 8)):
        rows = [
            {"image": f"{name}.png", "question": "colour", "answer": f"a {name}", "id": f"{split}{number}{name}"}
            for number in range(count // 2)
            for name in COLOURS
        ]
        if split != "train":
            rows[0] |= {"answer": "The red."}  # training has it in other words
            rows[1] |= {"answer": "dark blue"}
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return {
        "text": {"name": "causal_lm", "model": str(tiny_language_model(tmp_path / "lm", WORDS)), "trainable": True},
        "vision": {"name": "tiny_vision", "depth": 3, "width": 16},
        "model": {"name": "mllm", "inject": {"layers": [0, 2]}, "answers": "generate", "answer_tokens": 4},
        "manager": {"name": "static"},
        "data": {"name": "questions", "folder": str(folder)},
        "train": {"length": {"steps": 40}, "lr": 0.01, "eval_every": 20},
        "record": {"interventions": True},
    }


def test_a_run_learns_to_say_its_answers(make_run: RunMaker, questions: dict[str, Any]) -> None:
    folder = make_run("generated", **questions)
    assert train(folder) == 0
    losses = [row["train/loss"] for row in lines(folder, "train/loss")]
    assert losses[-1] < 0.5 < losses[0]
    outcomes = polars.read_parquet(folder / "examples.parquet").filter(polars.col("split") == "val")
    assert outcomes["score"].to_list() == [1, 0, 1, 1, 1, 1, 1, 1], "in other words it counts, in others not"
    assert outcomes["prediction"].to_list() == [1, 0] * 4
    result = json.loads((folder / "result.json").read_text())
    assert result["metrics"]["val/accuracy_floor"] < 0.7
    assert 0 < result["interventions"]["image"]["uniform"] <= 1

    found = find_run(str(folder), folder.parents[2])
    evaluated = evaluate_run(found, parse_request(found, None, None, "test"), device="cpu")
    assert evaluated.unknown.total() == 0
    table = evaluated.table()
    assert table["prediction"].to_list() == ["a red", "a blue"] * 4
    assert table["target"].to_list()[:2] == ["The red.", "dark blue"]
    assert evaluated.answer_file()[0]["answer"] == "a red"
    images = [folder.parents[2] / "questions" / "images" / f"{name}.png" for name in COLOURS]
    assert load(str(folder)).answer(images, ["colour"] * 2) == ["a red", "a blue"]


def test_words_that_training_has_not_count_if_they_are_said(
    make_run: RunMaker, questions: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    generated = torch.tensor([[WORDS.index(word) for word in ("dark", "blue", "<end>")]])
    monkeypatch.setattr(
        LanguageModelEncoder, "generate", lambda _self, text, *_, **__: generated.expand(len(text.mask), 3)
    )
    folder = make_run("new", **questions | {"train": {"length": {"steps": 2}}, "record": {"interventions": False}})
    assert train(folder) == 0
    outcomes = polars.read_parquet(folder / "examples.parquet").filter(polars.col("split") == "test")
    assert outcomes["score"].to_list() == [0, 1] + [0] * 6
    assert outcomes["prediction"].to_list() == [-1] * 8


def test_on_other_data_a_model_chooses_among_its_own_answers(make_run: RunMaker, questions: dict[str, Any]) -> None:
    model = {"name": "mllm", "inject": {"layers": [0, 2]}, "answers": "likelihood"}
    folder = make_run("own", **questions | {"model": model, "record": {"interventions": False}})
    assert train(folder) == 0
    own = Path(questions["data"]["folder"])
    (own / "more").mkdir()
    for split in ("train", "val", "test"):
        rows = (own / f"{split}.jsonl").read_text().replace('"answer": "a blue"', '"answer": "a"').splitlines()
        (own / "more" / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    found = find_run(str(folder), folder.parents[2])
    request = parse_request(found, None, f"folder={own / 'more'},images={own / 'images'}", "val")
    evaluated = evaluate_run(found, request, device="cpu")
    assert evaluated.answers == ("a blue", "a red")
    assert set(evaluated.table()["prediction"]) == {"a blue", "a red"}
    assert evaluated.table()["score"].to_list() == [0, 0, 1, 0, 1, 0, 1, 0]


def test_credit_is_the_benchmarks_own() -> None:
    numbers = number_answers(["cat", "2"])
    plain = Example("0", "?", "i", 0, "f")
    assert [credit(generated, plain, "cat", numbers) for generated in ("The cat.", "CAT", "cats", "")] == [1, 1, 0, 0]
    scored = Example("0", "?", "i", 1, "f", scores=((0, 0.3), (1, 0.9)))
    assert [credit(generated, scored, "2", numbers) for generated in ("two", "a cat", "dog")] == [0.9, 0.3, 0]
    alike = number_answers(["blue", "red", "Red", "two", "2"])
    for number, right in ((1, "red"), (2, "Red"), (3, "two"), (4, "2")):
        one = Example("0", "?", "i", number, "f", scores=((number, 1.0),))
        assert credit(right, one, right, alike) == 1.0
        assert _predicted(right, ["blue", "red", "Red", "two", "2"], alike) == number
    assert _predicted("a RED", ["blue", "red", "Red", "two", "2"], alike) == 1
    seen = Example("0", "?", "i", -1, "f", annotators=("dog",) * 10)
    assert credit("the dog", seen, "", numbers) == 1.0
    assert [credit(generated, plain, "A", numbers) for generated in ("A", "a", "the", "B", "")] == [1, 1, 0, 0, 0]
