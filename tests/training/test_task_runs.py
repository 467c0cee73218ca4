"""Every task from end to end on toy data: it learns, goes on exactly when cut off, and leaves what it should."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
import toys  # noqa: F401 - registers the data sets
from tiny_runs import RunMaker, lines, outcome, stopped_at, tiny_config

from mtlab.managers.base import Experts
from mtlab.model.forward import ForwardContext
from mtlab.runs import checkpoints
from mtlab.tasks.evaluation import Evaluation, evaluate
from mtlab.tasks.ranking import recall
from mtlab.tasks.ranking.scratch_file import ScratchFile
from mtlab.training.assemble import AssembledRun, assemble
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.steps import train_step
from mtlab.training.worker import train

CAPTIONS = {"name": "toy_captions", "train": 54, "val": 54, "test": 54}
CONTRAST = {"contrastive_width": 16, "temperature": 0.1}
TASKS: dict[str, dict[str, Any]] = {
    "votes": {"task": {"name": "question_answering", "loss": "binary"}, "data": {"name": "toy_votes"}},
    "entailment": {"task": {"name": "entailment"}, "data": {"name": "toy_entailment"}},
    "reasoning": {"task": {"name": "reasoning"}, "data": {"name": "toy_pairs"}},
    "retrieval": {"task": {"name": "retrieval", **CONTRAST}, "data": CAPTIONS},
    "mlm+itm": {"task": {"name": "pretraining"}, "data": CAPTIONS},
    "mlm+itm_itc": {
        "task": {"name": "pretraining", "objectives": {"mlm": 1.0, "itm_itc": 0.5}, **CONTRAST},
        "data": CAPTIONS,
    },
}
LEARNT = {"votes": 0.9, "entailment": 0.9, "reasoning": 0.9, "retrieval": 0.8, "mlm+itm": 0.7, "mlm+itm_itc": 0.5}


def sections(name: str, **more: Any) -> dict[str, Any]:
    """Make the settings of a run on toy data."""
    settings: dict[str, Any] = {
        "manager": {"name": "static", "noise": 1.0},
        "text": {"name": "tiny_text", "depth": 2, "width": 32, "heads": 2},
        "vision": {"name": "tiny_vision", "depth": 2, "width": 32, "heads": 2, "image_size": 16, "patch": 4},
        "model": {"width": 32, "heads": 2, "cross_layers": 2, "mlp_ratio": 2, "dropout": 0.0},
        "train": {"length": {"steps": 80}, "batch": 24, "eval_every": 40, "checkpoint_every": 1000, "lr": 4e-3},
        "metrics": {"choose": "val/primary"},
        **TASKS[name],
    }
    for key, given in more.items():
        settings[key] = {**settings.get(key, {}), **given}
    return settings


SHORT = {"length": {"steps": 12}, "batch": 16, "eval_every": 6, "checkpoint_every": 4, "lr": 1e-3}


def opened(name: str, **more: Any) -> AssembledRun:
    run = assemble(tiny_config(**sections(name, **more)), seed=0)
    run.model.eval()
    return run


def evaluate_run(run: AssembledRun, batch: int = 16) -> Evaluation:
    return evaluate(ForwardContext(run.model, run.runtime), run.loader("val"), batch)


@pytest.mark.parametrize("name", TASKS)
def test_a_tiny_set_is_learnt_and_a_run_leaves_all_that_it_should(name: str, make_run: RunMaker) -> None:
    folder = make_run(name, **sections(name))
    assert train(folder) == 0
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    primary = "recall" if name == "retrieval" else "accuracy"
    assert metrics["val/primary"] == metrics[f"val/{primary}"] >= LEARNT[name]
    rows = lines(folder, "val/loss")
    assert rows[-1]["val/loss"] < rows[0]["val/loss"] or rows[0]["val/loss"] < 0.1
    examples = polars.read_parquet(folder / "examples.parquet")
    for split in ("val", "test"):
        own = examples.filter(polars.col("split") == split)
        assert own["score"].mean() == pytest.approx(metrics[f"{split}/primary"])
        ids = own["id"].to_list()
        each = 2 if name == "retrieval" else 1
        assert {ids.count(one) for one in set(ids)} == {each}, "every example is counted once"
        assert len(set(ids)) == 24 if name in ("retrieval", *TASKS) and each == 2 else len(ids) in (24, 54)
    told = checkpoints.load(folder / "tokens.safetensors")[1]["examples"]
    assert all(example["truth"] and example["prediction"] for example in told)
    assert {"layers.safetensors", "trace.safetensors"} <= {path.name for path in folder.iterdir()}


def test_the_metrics_of_each_task(make_run: RunMaker) -> None:
    expected = {
        "votes": {"accuracy", "score"},
        "retrieval": {"recall", "IR@1", "IR@5", "IR@10", "TR@1", "TR@5", "TR@10", "contrast_recall"},
        "mlm+itm": {"accuracy", "mlm_accuracy", "itm_accuracy", "mlm_loss", "itm_loss"},
        "mlm+itm_itc": {
            *("accuracy", "mlm_accuracy", "itm_accuracy", "itc_accuracy"),
            *("mlm_loss", "itm_loss", "itc_loss"),
        },
    }
    from mtlab.resolution.metrics import metric_directions

    for name, names in expected.items():
        run = opened(name)
        found = evaluate_run(run).metrics("val")
        assert {key.split("/")[1] for key in found} == {*names, "loss", "primary"}
        known = {metric for metric in metric_directions(run.config) if metric.startswith("val/")}
        assert known == {f"val/{metric}" for metric in (*names, "loss", "primary")}


@pytest.mark.parametrize("name", ["votes", "reasoning", "retrieval", "mlm+itm_itc", "mlm+itm"])
def test_it_goes_on_in_mid_epoch_as_if_nothing_had_happened(name: str, make_run: RunMaker) -> None:
    settings = sections(name, train=SHORT, model={"dropout": 0.1})
    whole, broken = make_run("whole", **settings), make_run("broken", **settings)
    assert train(whole) == 0
    assert stopped_at(broken, 5) == 143  # in the middle of an epoch
    assert train(broken) == 0
    assert outcome(broken) == outcome(whole)


def gradients(name: str, micro: int, **more: Any) -> tuple[float, dict[str, torch.Tensor]]:
    run = opened(name, manager={"noise": 0.0}, **more)
    run.model.train()
    optimiser = make_optimiser(run.model, parameter_groups(run.model, run.train, {}), run.train)
    batches = next(run.loader("train").steps(0, 16, micro))
    loss = train_step(run.model, optimiser, batches, run.runtime, seed=0, step=0, clip=None)
    return loss.item(), {key: p.grad.clone() for key, p in run.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["votes", "reasoning", "mlm+itm"])
def test_what_is_learnt_does_not_depend_on_the_micro_batch(name: str) -> None:
    loss, whole = gradients(name, 16)
    for micro in (8, 2):
        split_loss, split = gradients(name, micro)
        assert split_loss == pytest.approx(loss, rel=1e-5)
        assert split.keys() == whole.keys()
        for key, gradient in whole.items():
            torch.testing.assert_close(split[key], gradient, rtol=1e-3, atol=1e-6, msg=key)


def test_weights_weigh_objectives_unless_they_are_to_be_ignored() -> None:
    def loss(**options: Any) -> float:
        return gradients("mlm+itm", 16, task=options)[0]

    both, mlm, itm = loss(), loss(objectives=["mlm"]), loss(objectives=["itm"])
    assert both == pytest.approx(mlm + itm, rel=1e-4)
    weighed = {"mlm": 2.0, "itm": 0.5}
    assert loss(objectives=weighed) == pytest.approx(2 * mlm + 0.5 * itm, rel=1e-4)
    assert loss(objectives=weighed, weights="ignored") == pytest.approx(both, rel=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_validation_is_the_same_every_time_and_in_batches_of_any_size(name: str) -> None:
    run = opened(name)
    first, again, others = evaluate_run(run), evaluate_run(run), evaluate_run(run, batch=7)
    assert first.metrics("val") == again.metrics("val")
    assert others.ids == first.ids
    for metric, scores in first.scores.items():
        assert others.scores[metric].tolist() == pytest.approx(scores.tolist(), abs=1e-6)
    assert others.loss == pytest.approx(first.loss, rel=1e-5)


def test_negatives_and_hidden_words_depend_on_seed_and_step_alone() -> None:
    run = opened("mlm+itm_itc")

    def step(seed: int, step: int) -> list[Any]:
        (batch,) = next(run.loader("train").steps(seed, 16, 16, step))
        assert batch.masked is not None
        return batch.masked.inputs[0].tolist()

    assert step(0, 0) == step(0, 0)
    assert step(0, 0) != step(1, 0)

    def loss(seed: int, number: int) -> float:
        again = opened("mlm+itm_itc")
        again.model.train()
        optimiser = make_optimiser(again.model, parameter_groups(again.model, again.train, {}), again.train)
        batches = next(again.loader("train").steps(0, 16, 16))
        torch.manual_seed(torch.seed())
        return train_step(again.model, optimiser, batches, again.runtime, seed=seed, step=number, clip=None).item()

    assert loss(0, 0) == loss(0, 0)
    assert loss(0, 0) != loss(0, 1)


def test_ranking_holds_as_few_experts_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    run = opened("retrieval", data={"name": "toy_captions", "train": 24, "val": 72, "test": 24})
    whole = evaluate_run(run)
    held: list[int] = []
    real = ScratchFile.read

    def reading(self: ScratchFile, numbers: Sequence[int], device: torch.device) -> Experts:
        held.append(len(numbers))
        return real(self, numbers, device)

    monkeypatch.setattr(ScratchFile, "read", reading)
    monkeypatch.setattr(recall, "BLOCK_BYTES", 5 * 4 * 2 * 17 * 32)  # five pictures; captions are shorter
    few = evaluate_run(run)
    assert 5 in held
    assert max(held) <= 5 * 17 // 5
    assert few.scores["recall"].tolist() == whole.scores["recall"].tolist()


def test_interventions_rank_anew(make_run: RunMaker) -> None:
    folder = make_run(**sections("retrieval", train=SHORT), record={"interventions": True, "trace": False})
    assert train(folder) == 0
    found = json.loads((folder / "result.json").read_text())["interventions"]
    assert found["metric"] == "val/recall"
    assert found["text"]["by"] == "weights"
    values = [found[modality][way] for modality in ("text", "image") for way in ("uniform", "token_mean")]
    assert all(0 <= value <= 1 for value in values)
    assert set(found["image"]["without"]) == {"1", "2"}


def test_hidden_words_are_read_live_beside_cached_texts() -> None:
    run = opened("mlm+itm")
    assert set(run.model.towers) == {"text"}
    batch = run.loader("val").batch([0, 1])
    assert batch.masked is not None
    assert not isinstance(batch.text, tuple), "plain texts come from the cache"
    assert not any(name.startswith("towers.") for name in checkpoints.model_tensors(run.model))


def test_texts_that_are_cut_are_counted_and_told(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(**sections("votes", train=SHORT, text={"max_length": 4}))
    assert train(folder) == 0
    told = "longer than 4 tokens, and cut: 24 of 24 train texts, 24 of 24 val texts, 24 of 24 test texts"
    assert f"texts {told}" in capsys.readouterr().out
    assert json.loads((folder / "result.json").read_text())["cut_texts"] == told
    whole = make_run("whole", **sections("votes", train=SHORT))
    assert train(whole) == 0
    assert json.loads((whole / "result.json").read_text())["cut_texts"] is None


def test_what_only_a_server_knows_is_not_scored(make_run: RunMaker) -> None:
    folder = make_run(**sections("votes", train=SHORT, data={"name": "toy_server"}))
    assert train(folder) == 0
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert not [name for name in metrics if name.startswith("test/")]
    assert "val/accuracy" in metrics
    assert set(polars.read_parquet(folder / "examples.parquet")["split"]) == {"val"}


@pytest.mark.parametrize(
    ("name", "heads", "told"),
    [
        ("retrieval", "task.itm.linear.weight", ["left 6 weights of another task's heads"]),
        ("votes", None, ["new: 6 weights of the task's own heads", "left 13 weights of another task's heads"]),
        ("reasoning", None, ["new: 6 weights of the task's own heads"]),
    ],
)
def test_pre_training_is_a_parent(
    name: str, heads: str | None, told: list[str], make_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = make_run("pre", **sections("mlm+itm_itc", train=SHORT))
    assert train(parent) == 0
    link = {"cell": "pre", "seed": 0}
    still = {"length": {"steps": 1}, "batch": 8, "lr": 1e-12, "weight_decay": 0.0}
    child = make_run("fine", parents=[link], **sections(name, train=still), init_from=link)
    capsys.readouterr()
    assert train(child) == 0
    printed = capsys.readouterr().out
    assert all(words in printed for words in told)
    given, own = (checkpoints.load(run / "checkpoints/best.safetensors")[0] for run in (parent, child))
    type_table = "encoder.image.embeddings.token_type.weight"
    encoder = [key for key in given if key.startswith("encoder.") and key != type_table]
    assert encoder
    for key in encoder if heads is None else [*encoder, heads]:
        torch.testing.assert_close(own[key], given[key], msg=key)
    torch.testing.assert_close(own[type_table], given[type_table].expand_as(own[type_table]))  # a second picture's too


def test_with_and_without_pre_training_is_an_axis(tmp_path: Path) -> None:
    from mtlab.studies.cell_cost import CellCost
    from mtlab.studies.plan import make_plan
    from mtlab.studies.spec import read_study

    shared = (
        "set:\n  text: {name: tiny_text}\n  vision: {name: tiny_vision}\n  model: {width: 16, heads: 2}\n"
        "  train: {batch: 8, length: {steps: 2}}\n"
    )
    (tmp_path / "pre.yaml").write_text(
        f"kind: ablation\nname: pre\nwhy: x\n{shared}  task: pretraining\n  data: toy_captions\n"
        "axes: {manager: [last, static]}\nmetrics: {choose: val/primary, verdict: test/primary}\n"
    )
    (tmp_path / "fine.yaml").write_text(
        f"kind: ablation\nname: fine\nwhy: x\n{shared}axes:\n  manager: [last, static]\n"
        "  what:\n    zip: {task: [retrieval, reasoning], data: [toy_captions, toy_pairs]}\n"
        "    labels: [rank, reason]\n"
        "  init_from: [{value: null, label: without}, {study: pre, label: with}]\n"
        "baseline: {init_from: without}\nmetrics: {choose: val/primary, verdict: test/primary}\n"
    )
    plan = make_plan(read_study(tmp_path / "fine.yaml"), lambda _: CellCost({}, 1, 1.0, 1.0))
    assert len(plan.cells) == 8
    assert len(plan.runs) == 10, "one pre-training for each manager serves both tasks"
    for cell in plan.cells:
        if cell.parent is not None:
            assert cell.parent.config["manager"] == cell.config["manager"]
            assert cell.row.compare_to is not None
            assert plan.cells[cell.row.compare_to].parent is None
    assert sum(cell.parent is not None for cell in plan.cells) == 4
    assert {cell.config["metrics"]["choose"] for cell in plan.cells} == {"val/recall", "val/accuracy"}
