"""A trained run answers lmms-eval: requests as its tasks send them, and a task of local files from end to end."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from tiny_mllm import tiny_language_model
from tiny_runs import RunMaker, train

from mtlab.errors import UserError
from mtlab.inference import lmms_eval

COLOURS = {"red": (200, 20, 20), "blue": (20, 20, 200)}
WORDS = ["<pad>", "<end>", "Question:", "Answer:", "colour", "red", "blue", "?"]
TASK = """
task: colours
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/asked.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function colours.visual
doc_to_text: "colour"
doc_to_target: "answer"
generation_kwargs: {{until: ["."]}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
CODE = """
from PIL import Image


def visual(row):
    return [Image.open(row["image"])]
"""


@pytest.fixture
def run(make_run: RunMaker, tmp_path: Path) -> Path:
    """A run that says which colour a picture has."""
    folder = tmp_path / "questions"
    (folder / "images").mkdir(parents=True)
    for name, colour in COLOURS.items():
        Image.new("RGB", (32, 32), colour).save(folder / "images" / f"{name}.png")
    for split, count in (("train", 16), ("val", 2), ("test", 2)):
        rows = [
            {"image": f"{name}.png", "question": "colour", "answer": name, "id": f"{split}{number}{name}"}
            for number in range(count)
            for name in COLOURS
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    made = make_run(
        "asked",
        text={"name": "causal_lm", "model": str(tiny_language_model(tmp_path / "lm", WORDS)), "trainable": True},
        vision={"name": "tiny_vision", "depth": 3, "width": 16},
        model={"name": "mllm", "inject": {"layers": [0, 2]}, "answers": "generate", "answer_tokens": 3},
        manager={"name": "static"},
        data={"name": "questions", "folder": str(folder)},
        train={"length": {"steps": 30}, "lr": 0.01, "eval_every": 15},
        record={"interventions": False, "tokens": False, "layers": False, "trace": False},
    )
    assert train(made) == 0
    return made


def request(task: str, name: str, *given: Any) -> SimpleNamespace:
    """A request about a picture of a colour: of a task that generates with options, or compares with a target."""
    return SimpleNamespace(args=("colour", *given, lambda row: [row], list(COLOURS).index(name), task, "test"))


def test_requests_are_answered_and_scored(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if lmms_eval._Base is object:  # not installed: the class stands on nothing, and is called as the library would
        with pytest.raises(UserError, match=r"needs lmms-eval: .*docs/mllm.md"):
            lmms_eval.LmmsEvalModel(str(run))
        monkeypatch.setattr(lmms_eval, "_Base", None)
    model = lmms_eval.LmmsEvalModel(run=str(run), device="cpu", batch_size="2", max_batch_size=None)
    images = [Image.new("RGB", (32, 32), colour) for colour in COLOURS.values()]
    model.task_dict = {"t": {"test": images}, "two": {"test": [images, images]}}
    asked = [request("t", name, {"until": ["\n"]}) for name in ("blue", "red", "blue")]
    assert model.generate_until(asked) == ["blue", "red", "blue"]
    assert model.generate_until([request("t", "blue", {"until": "lu"})]) == ["b"]
    (right, greedy), (wrong, not_greedy) = model.loglikelihood(
        [request("t", "red", " red"), request("t", "red", lambda _row: "blue")]
    )
    assert 0 < right < wrong  # losses: lmms-eval takes the smallest
    assert (greedy, not_greedy) == (True, False)
    with pytest.raises(UserError, match="task 'two' has 2 images to a question: a run reads one"):
        model.generate_until([request("two", "red", {})])
    with pytest.raises(UserError, match="conversations of several rounds"):
        model.generate_until_multi_round([])


@pytest.mark.slow
def test_a_task_of_local_files_is_evaluated(run: Path, tmp_path: Path) -> None:
    evaluator = pytest.importorskip("lmms_eval.evaluator")
    from lmms_eval.models import MODEL_REGISTRY_V2
    from lmms_eval.tasks import TaskManager

    images = run.parents[2] / "questions" / "images"
    rows = [{"image": str(images / f"{name}.png"), "answer": name} for name in COLOURS]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "colours.yaml").write_text(TASK.format(folder=tmp_path))
    (tmp_path / "tasks" / "colours.py").write_text(CODE)
    MODEL_REGISTRY_V2.register_manifest(lmms_eval.manifest(), overwrite=True)  # as the entry point does
    found = evaluator.simple_evaluate(
        model="mtlab",
        model_args=f"run={run},device=cpu",
        tasks=["colours"],
        batch_size=2,
        task_manager=TaskManager(include_path=str(tmp_path / "tasks")),
    )
    assert found["results"]["colours"]["exact_match,none"] == 1.0
