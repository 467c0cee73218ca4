"""A language model learns tasks other than question answering, some of two images in one prompt, in words or a head."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import toys
from test_task_runs import TASKS
from tiny_mllm import tiny_language_model
from tiny_runs import RunMaker, tiny_config

from mtlab.errors import UserError
from mtlab.inference.inspection import inspect
from mtlab.recording.reader import Layers, Tokens, read_layers, read_tokens
from mtlab.runs import checkpoints
from mtlab.training.worker import train

COLOURS = list(dict.fromkeys(colour for colour, _ in toys.KINDS))
WORDS = ["<pad>", "<end>", "Question:", "Answer:", *COLOURS, "the", "right", "one", "is", "it"]
WORDS += ["expensive", "False", "True", "contradiction", "neutral", "entailment", "?"]


def sections(tmp_path: Path, task: str, answers: str) -> dict[str, Any]:
    language_model = tiny_language_model(tmp_path / "lm", WORDS)
    return {
        "manager": {"name": "residual_adaptive", "query": "cross"},
        "text": {"name": "causal_lm", "model": str(language_model), "trainable": True, "embeddings": True},
        "vision": {"name": "tiny_vision", "depth": 2, "width": 32, "heads": 2, "image_size": 16, "patch": 4},
        "model": {"name": "mllm", "inject": {"layers": [0, 2]}, "answers": answers},
        "train": {"length": {"steps": 60}, "batch": 24, "eval_every": 20, "checkpoint_every": 1000, "lr": 4e-3},
        "record": {"interventions": answers == "likelihood"},
        **TASKS[task],
    }


@pytest.mark.parametrize(
    ("task", "answers"), [("reasoning", "likelihood"), ("reasoning", "head"), ("entailment", "likelihood")]
)
def test_it_learns_and_is_recorded(make_run: RunMaker, tmp_path: Path, task: str, answers: str) -> None:
    folder = make_run("run", **sections(tmp_path, task, answers))
    assert train(folder) == 0
    result = json.loads((folder / "result.json").read_text())
    assert result["metrics"]["val/accuracy"] >= 0.9
    tensors, _ = checkpoints.load(folder / "checkpoints" / "best.safetensors")
    assert any(name.startswith("task.head") for name in tensors) == (answers == "head")
    examples = polars.read_parquet(folder / "examples.parquet")
    assert set(examples["prediction"]) <= set(range(3))
    layers, tokens = read_layers(folder), read_tokens(folder)
    assert isinstance(layers, Layers)
    assert isinstance(tokens, Tokens)
    rows = tokens.rows("weights", "image", 2, 0)
    assert rows is not None
    assert rows.shape[1] == 17, "class token and patches of the first image"
    if task == "reasoning":  # an example that is not recorded is run on both of its images
        (folder / "tokens.safetensors").unlink()
        again = inspect(str(folder), tmp_path, example=tokens.examples[0].id).tokens
        assert np.allclose(again.rows("weights", "image", 2, 0), rows, atol=1e-5)
        assert again.examples[0].prediction == tokens.examples[0].prediction is not None
    assert set(result["interventions"]["image"]["without"] if answers == "likelihood" else "12") == {"1", "2"}


def test_generated_answers_are_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        tiny_config(**sections(tmp_path, "reasoning", "generate"))
    assert str(error.value) == "model.answers: 'reasoning' does not go with generate: set it to likelihood or head"
