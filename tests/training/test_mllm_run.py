"""Runs of a language model that reads images: trained, interrupted and resumed, recorded, measured by interventions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_mllm import tiny_language_model
from tiny_runs import TINY, RunMaker, lines, outcome, stopped_at, tiny_config, train

from mtlab.errors import UserError
from mtlab.recording.reader import Layers, Tokens, read_layers, read_tokens
from mtlab.resolution.identity import cell_identity
from mtlab.resolution.resolve import resolve

WORDS = ["<pad>", "<end>", "Question:", "Answer:", "code", "of", "item", *map(str, range(30)), "?"]
MODEL = {"name": "mllm", "inject": {"layers": [0, 2]}}
NODE = {"name": "residual_adaptive", "noise": 0.05}


@pytest.fixture
def text(tmp_path: Path) -> dict[str, Any]:
    """The node of a language model on disk."""
    return {"name": "causal_lm", "model": str(tiny_language_model(tmp_path / "lm", WORDS)), "trainable": True}


def test_a_run_trains_records_and_is_measured(make_run: RunMaker, text: dict[str, Any]) -> None:
    folder = make_run("plain", text=text, model=MODEL, manager=NODE, record={"interventions": True})
    assert train(folder) == 0
    result = json.loads((folder / "result.json").read_text())
    losses = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    validated = [line["val/loss"] for line in losses if "val/loss" in line]
    assert validated[-1] < validated[0]
    worth = result["interventions"]
    assert (worth["image"]["by"], set(worth["image"]["without"])) == ("weights", {"1", "2", "3"})
    assert worth["text"]["without"] == {}
    layers, tokens = read_layers(folder), read_tokens(folder)
    assert isinstance(layers, Layers)
    assert isinstance(tokens, Tokens)
    assert layers.depths("contributions", "image") == tokens.depths("weights", "image") == (0, 2)
    assert layers.depths("contributions", "text") == ()
    assert layers.levels["image"] == (1, 2, 3)
    assert tokens.examples[0].tokens[0] == "Question:"


def test_what_is_recorded_goes_by_the_levels_of_the_tower(make_run: RunMaker, text: dict[str, Any]) -> None:
    model = {"name": "mllm", "inject": {"layers": [0, 2], "levels": [1]}}
    folder = make_run("below", text=text, model=model, manager="residual_static", record={"interventions": True})
    assert train(folder) == 0
    worth = json.loads((folder / "result.json").read_text())["interventions"]["image"]
    assert (worth["by"], set(worth["without"])) == ("weights", {"1", "3"})
    layers, tokens = read_layers(folder), read_tokens(folder)
    assert isinstance(layers, Layers)
    assert isinstance(tokens, Tokens)
    assert layers.levels["image"] == tokens.levels["image"] == (1, 2, 3)
    for depth, unoffered in ((0, [0, 1]), (2, [1, 2])):  # layer 0 has the model's own tokens, level 3, in place of 1
        weights = layers.experts("weights", "image", depth)
        assert weights is not None
        assert np.flatnonzero(np.isnan(weights)).tolist() == unoffered


def test_an_interrupted_run_resumes_to_the_same_result(make_run: RunMaker, text: dict[str, Any]) -> None:
    whole, cut = (make_run(name, text=text, model=MODEL, manager=NODE) for name in ("whole", "cut"))
    assert train(whole) == 0
    assert stopped_at(cut, 12) != 0
    assert train(cut) == 0
    assert outcome(cut) == outcome(whole)


def test_bf16_and_recomputed_activations_learn_too(make_run: RunMaker, text: dict[str, Any]) -> None:
    losses = []
    again = {"checkpoint_activations": True, "micro_batch": 8}
    for options in ({"precision": "bf16"}, {}, again, {"precision": "bf16_weights"} | again):
        folder = make_run(f"run{len(losses)}", text=text, model=MODEL, manager="last", train={"batch": 16} | options)
        assert train(folder) == 0
        losses.append([row["val/loss"] for row in lines(folder, "val/loss")])
    assert losses[0] == pytest.approx(losses[1], abs=0.25)
    assert losses[2] == pytest.approx(losses[1], abs=1e-4)
    assert losses[3] == pytest.approx(losses[1], abs=0.25)


def test_two_towers_have_the_id_that_they_always_had(text: dict[str, Any]) -> None:
    named, plain = (cell_identity(tiny_config(model=model)) for model in ({"name": "two_towers", **TINY["model"]}, {}))
    assert named == plain
    assert "name" not in plain.hashed["config"]["model"]
    other = cell_identity(tiny_config(text=text, model=MODEL))
    assert other.hashed["config"]["model"]["name"] == "mllm"
    assert "model" not in other.hashed["config"]["text"], "the same weights elsewhere are the same"


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"model": {"name": "mlm"}}, "model.name: unknown model 'mlm'; did you mean 'mllm'"),
        ({"model": {"name": "mllm", "width": 8}}, "model.width: is an option of `model: two_towers`, not of mllm"),
        ({"model": {"name": "mllm"}}, "text.name: `model: mllm` needs a causal language model"),
        ({"text": {"name": "causal_lm"}}, "text.name: 'causal_lm' offers no levels to two towers"),
        ({"model": MODEL, "train": {"compile": True}}, "train.compile: `model: mllm` is not compiled"),
        ({"train": {"shard": True}}, "train.shard: goes with `model: mllm` and `optimizer: adamw`: set it to false"),
        ({"model": MODEL, "train": {"shard": True, "optimizer": "muon"}}, "train.shard: goes with `model: mllm`"),
        ({"model": MODEL, "task": {"name": "retrieval"}}, "task.name: 'retrieval' needs two towers"),
        ({"model": MODEL, "vision": {"gate": True}}, "vision.gate: belongs to two towers"),
    ],
)
def test_what_does_not_go_together_is_refused(sections: dict[str, Any], problem: str, text: dict[str, Any]) -> None:
    given = {"text": text} | sections if sections.get("model") == MODEL else dict(sections)
    if sections.get("text"):
        given["text"] = text
    config = {"data": {"name": "planted", "train": 100, "val": 40, "test": 40}, "vision": {"name": "planted"}} | given
    if "vision" in given:
        config["vision"] = {"name": "planted"} | given["vision"]
    if config.get("task", {}).get("name") == "retrieval":
        config["data"] = {"name": "shapes_captions"}
    with pytest.raises(UserError) as error:
        resolve(config)
    assert str(error.value).startswith(problem)
