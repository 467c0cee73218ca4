"""Runs whose language model learns to describe images: learnt, told from other captions, said in words."""

import json
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
import toys
from tiny_mllm import tiny_language_model
from tiny_runs import RunMaker, lines, tiny_config, train
from tiny_shards import make_shards

from mtlab.data.shards.streaming.batch_loader import StreamingLoader
from mtlab.data.worlds.shapes_captions import ShapesCaptions
from mtlab.errors import UserError
from mtlab.inference.api import load
from mtlab.inference.evaluation import evaluate_run, parse_request
from mtlab.inference.inspection import inspect
from mtlab.inference.intervention import load_run
from mtlab.model.forward import ForwardContext
from mtlab.model.mllm.encoder import LanguageModelEncoder
from mtlab.runs.find_run import find_run
from mtlab.tasks.evaluation import evaluate
from mtlab.training.assemble import assemble
from mtlab.training.intervention_metrics import measure_interventions, swapped_context

CHANCE = 1 / 6
TOY_WORDS = sorted(
    {word for each in toys.Captions(toys.Captions.Config(train=72)).examples("train") for word in each.text.split()}
)


def sections(folder: Path, words: list[str], **changed: Any) -> dict[str, Any]:
    """Sections of a run that learns captions in these words."""
    known = ["<pad>", "<end>", "Question:", "Answer:", "Describe", "the", "image.", *words, "<unknown>"]
    model = folder / "lm"
    if not model.exists():
        tiny_language_model(model, known)
    return {
        "text": {"name": "causal_lm", "model": str(model), "trainable": True},
        "vision": {"name": "tiny_vision", "depth": 3, "width": 16, "image_size": 16, "patch": 4},
        "model": {"name": "mllm", "inject": {"layers": [0, 2]}, "answers": "generate", "answer_tokens": 6},
        "manager": {"name": "static"},
        "task": {"name": "captioning", "candidates": 6},
        "data": {"name": "toy_captions", "train": 48, "val": 48, "test": 48},
        "train": {"length": {"steps": 120}, "lr": 0.01, "eval_every": 60},
        "record": {"interventions": True, "tokens": True},
        **changed,
    }


@pytest.fixture(scope="module")
def described(make_runs: RunMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt the captions of 24 pictures."""
    folder = make_runs("described", **sections(tmp_path_factory.mktemp("model"), TOY_WORDS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTLAB_CACHE", str(folder.parents[2] / "cache"))
        assert train(folder) == 0
    return folder


def test_it_learns_to_tell_its_captions_from_others(described: Path) -> None:
    losses = [row["train/loss"] for row in lines(described, "train/loss")]
    assert losses[-1] < losses[0] / 3
    result = json.loads((described / "result.json").read_text())
    metrics = result["metrics"]
    assert metrics["val/accuracy_floor"] == metrics["val/accuracy_floor/plain"] == pytest.approx(CHANCE)
    assert metrics["val/accuracy"] > 4 * CHANCE
    assert result["interventions"]["image"]["without"]["3"] < metrics["val/accuracy"]
    outcomes = polars.read_parquet(described / "examples.parquet")
    assert outcomes.group_by("split", "cluster").len()["len"].to_list() == [2] * 48
    assert outcomes["prediction"].null_count() == 96


def test_what_it_says_is_written_in_words(described: Path) -> None:
    found = find_run(str(described), described.parents[2])
    evaluated = evaluate_run(found, parse_request(found, None, None, "test"), device="cpu")
    table = evaluated.table()
    assert table.columns == ["split", "id", "family", "image", "text", "likeliest", "generated", "score"]
    right = table.filter(polars.col("likeliest") == polars.col("text"))
    assert right["score"].to_list() == [1.0] * right.height
    assert right.height > 4 * CHANCE * 48
    said = table.filter(polars.col("generated") == polars.col("text"))
    assert said["image"].n_unique() > 12, "most pictures get one of their captions, word for word"
    assert load(str(described)).answer([toys.picture(0)], ["Describe the image."]) == [table["generated"][0]]
    with pytest.raises(UserError, match="answers no questions"):
        evaluated.answer_file()


def test_it_can_be_inspected(described: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = inspect(str(described), described.parents[2])
    example = seen.tokens.examples[0]
    assert example.text == "Describe the image."
    assert example.tokens == ("Question:", "Describe", "the", "image.", "Answer:")
    assert example.truth in {each.text for each in toys.Captions(toys.Captions.Config()).examples("val")}
    asked = inspect(str(described), described.parents[2], example="test/3").tokens.examples[0]
    assert (asked.text, asked.truth) == ("Describe the image.", None)
    assert asked.prediction


def test_another_seeds_weights_may_take_their_place(described: Path) -> None:
    found = find_run(str(described), described.parents[2])
    run, other = load_run(found, device="cpu"), load_run(found, device="cpu")
    plain = evaluate(ForwardContext(run.model, run.runtime), run.loader, 64)
    same = evaluate(swapped_context(run.model, other.model, run.runtime, {"image"}), run.loader, 64)
    assert same.loss == pytest.approx(plain.loss, rel=1e-4)
    for _, manager in other.model.encoder.managers():
        for name, parameter in manager.named_parameters():
            if name in manager.layer_weight_names:
                parameter.data.copy_(10 * torch.randn_like(parameter))
    swapped = evaluate(swapped_context(run.model, other.model, run.runtime, {"image"}), run.loader, 64)
    assert swapped.loss > 1.01 * plain.loss


def test_on_a_tie_another_caption_is_the_likeliest(described: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load_run(find_run(str(described), described.parents[2]), device="cpu")
    monkeypatch.setattr(LanguageModelEncoder, "score", lambda _self, *given, **_: torch.zeros(given[2].shape[:2]))
    evaluated = evaluate(ForwardContext(run.model, run.runtime), run.loader, 64)
    assert evaluated.outcomes.tolist() == [0] * 48
    assert evaluated.answer_texts is not None
    assert all(own != likeliest for own, likeliest in evaluated.answer_texts)


def test_nothing_is_generated_where_only_the_accuracy_is_read(described: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load_run(find_run(str(described), described.parents[2]), device="cpu")
    plain = evaluate(ForwardContext(run.model, run.runtime), run.loader, 64)
    monkeypatch.delattr(LanguageModelEncoder, "generate")
    measured = measure_interventions(run.model, run.loader, 64, run.runtime, {"text": (), "image": (3,)}, {"image"})
    assert measured["image"]["uniform"] > CHANCE
    for reads in ("primary", "metrics"):
        found = evaluate(ForwardContext(run.model, run.runtime, reads=reads), run.loader, 64)
        assert found.outcomes.tolist() == plain.outcomes.tolist()


def test_an_evaluation_does_not_depend_on_the_batch(described: Path) -> None:
    run = load_run(find_run(str(described), described.parents[2]), device="cpu")
    context = ForwardContext(run.model, run.runtime)
    one, many = (evaluate(context, run.loader, batch) for batch in (1, 64))
    assert one.loss == pytest.approx(many.loss, rel=1e-5)
    assert one.outcomes.tolist() == many.outcomes.tolist()
    assert one.table == many.table


@pytest.mark.slow
def test_without_its_image_it_is_as_good_as_chance(make_run: RunMaker, tmp_path: Path) -> None:
    folder = make_run("blind", **sections(tmp_path, TOY_WORDS, vision={"name": "blind"}, record={"tokens": False}))
    assert train(folder) == 0
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert abs(metrics["val/accuracy"] - CHANCE) <= 2 * metrics["val/accuracy_floor_error"]


def test_what_is_said_of_shapes_is_compared_with_what_is_there(
    make_run: RunMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"name": "shapes_captions", "train": 32, "val": 16, "test": 16, "image_size": 32, "objects": [2, 2]}
    examples = ShapesCaptions(ShapesCaptions.Config(train=32, val=16, test=16, objects=(2, 2))).examples("val")
    words = sorted({word for each in examples for word in each.text.split()})
    config = sections(tmp_path, words, data=data, train={"length": {"steps": 2}}, record={"interventions": False})
    config["model"] |= {"answer_tokens": 24}
    folder = make_run("shapes", **config)
    said = next(each for each in examples if each.image == "val/0").text
    monkeypatch.setattr(LanguageModelEncoder, "decode", lambda _self, generated: [said] * len(generated))
    assert train(folder) == 0
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    alike = {each.image for each in examples if each.objects == examples[0].objects}
    assert metrics["val/exact"] == len(alike) / 4
    assert metrics["val/exact_floor"] >= 1 / 4
    assert {name for name in metrics if "exact" in name and name.startswith("val")} == {
        "val/exact",
        "val/exact_floor",
        "val/exact_floor_error",
    }, "an image has no family"


def test_captions_of_shards_are_streamed(make_run: RunMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"name": "shards", "folder": str(make_shards(tmp_path, 12, name="the", texts=3))}
    config = sections(tmp_path, ["text", *map(str, range(12))], data=data, train={"length": {"steps": 2}, "batch": 4})
    config["vision"] |= {"trainable": True}
    folder = make_run("streamed", **config)
    monkeypatch.delattr(LanguageModelEncoder, "generate")  # what is said would be compared with nothing
    assert train(folder) == 0
    run = assemble(json.loads((folder / "config.json").read_text())["config"], 0)
    assert isinstance(run.training, StreamingLoader)
    (batch,) = next(run.training.steps(0, 4, 4))
    assert batch.captions is not None
    assert {len(row) for row in batch.text[0].tolist()} == {5}, "Question: Describe the image. Answer:"
    assert (batch.captions == 1).sum(1).tolist() == [1] * 4, "each has one end"
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert metrics["val/accuracy_floor"] == metrics["val/accuracy"] == 1, "of a single image there is nothing to tell"


REFUSED = [
    ({"model": {"name": "mllm", "answers": "likelihood"}}, "model.answers: 'captioning' does not go with likelihood"),
    (
        {"model": {"name": "two_towers"}, "text": {"name": "tiny_text"}},
        "task.name: 'captioning' needs a language m",
    ),
    ({"data": {"name": "toy_silence"}}, "data: caption '' has no tokens: leave out examples with empty ones"),
    ({"data": {"name": "toy_votes"}}, "task.name: data set 'toy_votes' has no captions"),
    ({"task": {"name": "captioning", "candidates": 1}}, "task.candidates"),
    (
        {"model": {"name": "mllm", "answers": "generate", "answer_tokens": 4}},
        "model.answer_tokens: caption 'this is .*' has 6 tokens, its end included: set it to as many, not 4",
    ),
    ({"task": {"name": "captioning", "prompt": "the " * 50}}, "task.prompt: has more than 48 tokens"),
]


@pytest.mark.parametrize(("changed", "problem"), REFUSED, ids=[problem.split()[0] for _, problem in REFUSED])
def test_what_does_not_go_together_is_refused(tmp_path: Path, changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        tiny_config(**sections(tmp_path, TOY_WORDS, **changed))
