"""Executed FLOPs, rehearsed memory, text lengths, and the command that tells them."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mtlab import cli
from mtlab.resolution.dataset_facts import dataset_facts
from mtlab.resolution.resolve import resolve
from mtlab.studies.budget.executed_flops import count_executed_flops
from mtlab.studies.budget.flops import count_cost
from mtlab.studies.budget.memory import ALLOCATOR, training_memory
from mtlab.studies.budget.text_length import text_length

TEXT = {"name": "tiny_text", "depth": 3, "width": 16, "layers": "all", "max_length": 24}
VISION = {"name": "tiny_vision", "depth": 3, "width": 16, "layers": "all"}
TINY: dict[str, Any] = {
    "manager": {"name": "adaptive", "noise": 1.0},
    "text": TEXT,
    "vision": VISION,
    "model": {"width": 16, "heads": 2, "cross_layers": 2, "mlp_ratio": 2},
    "data": {"name": "shapes", "train": 64, "val": 16, "test": 16},
    "train": {"batch": 8, "length": {"steps": 5}, "eval_every": 2},
}


def config(**sections: Any) -> dict[str, Any]:
    return resolve(TINY | sections)


def answers(cell: dict[str, Any]) -> int:
    return dataset_facts(cell["data"]).answers


def test_all_of_an_uncached_model_at_full_length_is_what_the_published_arithmetic_counts() -> None:
    cell = config(cache={"enabled": False}, manager={"name": "static"})
    found = count_executed_flops(cell, answers=answers(cell), text_tokens=24)
    cost = count_cost(cell, answers=answers(cell))
    assert found.forward == cost.flops_forward.total
    # The frozen towers' levels get no gradient, so that their projections have one product fewer than three.
    assert 0.85 * cost.flops_step < found.step < cost.flops_step


def test_an_adaptive_manager_executes_less_than_its_formula_has() -> None:
    cell = config()
    found, cost = (
        count_executed_flops(cell, answers=answers(cell), text_tokens=24),
        count_cost(cell, answers=answers(cell)),
    )
    assert found.forward < cost.flops_forward.trained


def test_cached_towers_and_padding_cost_nothing() -> None:
    cell = config(manager={"name": "static"})
    cost = count_cost(cell, answers=answers(cell))
    full, short = (count_executed_flops(cell, answers=answers(cell), text_tokens=tokens) for tokens in (24, 9))
    assert full.forward == cost.flops_forward.trained
    assert short.forward < full.forward
    assert short.step < full.step


def test_a_trained_tower_runs_backward_too() -> None:
    frozen, trained = (
        count_executed_flops(cell, answers=answers(cell), text_tokens=24)
        for cell in (
            config(cache={"enabled": False}),
            config(cache={"enabled": False}, text=TEXT | {"trainable": True}),
        )
    )
    assert trained.forward == frozen.forward
    assert trained.step > frozen.step


def test_real_texts_are_shorter_than_the_limit() -> None:
    cell = config()
    found = text_length(cell)
    assert 4 < found.tokens < 24
    assert found.origin == "mean over 8 training batches"


def test_the_length_of_texts_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = text_length(config())
    monkeypatch.setattr("mtlab.studies.budget.text_length.build_tower", None)  # a call would raise
    assert text_length(config()) == found


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"data": {"name": "vqav2"}}, "the data set cannot be read here"),
        ({"text": {"name": "transformers", "model": "roberta-base", "max_length": 24}}, "its tokeniser is not on"),
    ],
)
def test_texts_that_cannot_be_read_count_as_long_as_the_tower_allows(section: dict[str, Any], told: str) -> None:
    found = text_length(config(**section))
    assert found.tokens == 24
    assert told in found.origin


def test_a_rehearsal_counts_parameters_gradients_and_moments_exactly() -> None:
    cell = config()
    cost = count_cost(cell, answers=answers(cell))
    memory = training_memory(cell, answers=answers(cell))
    assert memory.gradients == 4 * cost.trained_params
    assert memory.optimiser == 2 * memory.gradients
    buffers = memory.parameters - 4 * cost.trained_params
    assert 0 < buffers < 4096  # centre and spread of each level
    assert memory.peak > ALLOCATOR * (memory.parameters + memory.optimiser + memory.activations)


def test_activations_grow_with_the_micro_batch_alone() -> None:
    whole, half = (
        training_memory(cell, answers=answers(cell))
        for cell in (config(), config(train=TINY["train"] | {"micro_batch": 4}))
    )
    assert half.parameters == whole.parameters
    assert 0.4 < half.activations / whole.activations < 0.6


MIDDLE = {
    "manager": {"name": "adaptive", "noise": 1.0},
    "text": TEXT | {"width": 128, "depth": 4, "heads": 4},
    "vision": VISION | {"width": 128, "depth": 4, "heads": 4, "image_size": 64},
    "model": {"width": 256, "heads": 8, "cross_layers": 4},
    "data": {"name": "planted"},
}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads resident memory from /proc")
@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"batch": 32}},
        {"train": {"batch": 64, "precision": "bf16"}, "manager": {"name": "bridge"}},
        {"train": {"batch": 64, "precision": "bf16_weights"}, "manager": {"name": "bridge"}},
        {
            "train": {"batch": 32},
            "text": MIDDLE["text"] | {"trainable": True},
            "vision": MIDDLE["vision"] | {"trainable": True},
        },
    ],
    ids=["cached", "bf16", "bf16 weights", "towers trained"],
)
def test_a_rehearsal_is_within_a_fifth_of_a_measured_run(changes: dict[str, Any]) -> None:
    script = Path(__file__).parent / "measure_memory.py"
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(MIDDLE | changes)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rehearsed"] == pytest.approx(found["measured"], rel=0.2)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Call `mtlab budget` on a tiny study."""
    study = {
        "kind": "ablation",
        "name": "tiny",
        "set": {key: TINY[key] for key in TINY if key != "manager"},
        "seeds": 2,
    }
    study |= {"axes": {"manager": ["bridge", "static"]}}
    (tmp_path / "tiny.yaml").write_text(json.dumps(study))

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["mtlab", "budget", str(tmp_path / "tiny.yaml"), *arguments])
        return cli.main()

    return call


def test_the_command_adds_up_a_study(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in told["rows"]] == ["bridge", "static"]
    assert told["totals"]["runs"] == 4
    assert told["totals"]["steps"] == 20
    assert told["totals"]["seconds"] is None
    assert told["totals"]["disk"] == 2 * 4 * sum(row["trained_params"] for row in told["rows"]), "the best checkpoints"
    row = told["rows"][0]
    assert row["live_params"] == sum(row["params"].values())
    assert row["dead"] is None
    passes = row["run_interventions"] / row["executed_forward"] / 16
    assert passes == int(passes) > 4, "at least one level of each tower, and two kinds of other weights for each"
    judged = 4 * 16 + 16 + passes * 16  # three validations, the last one, the test, and what levels are worth
    assert row["run_executed"] == row["executed_training"] * 5 * 8 + row["executed_forward"] * judged
    assert told["totals"]["flops"] == 2 * sum(row["flops_training"] * 40 for row in told["rows"])


def test_the_memory_is_that_of_the_settings_that_are_given(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def row(*overrides: str) -> dict[str, Any]:
        assert command("--json", "study.axes={manager: [static]}", *overrides) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)["rows"][0]
        return found

    plain = row()
    assert row("train.checkpoint_activations=true")["memory"]["activations"] < plain["memory"]["activations"]
    assert row("train.optimizer=muon")["memory"]["optimiser"] < plain["memory"]["optimiser"]
    assert row("model.dropout=0.0")["memory"]["activations"] < plain["memory"]["activations"], "no masks are kept"
    shared = row("study.resources.processes=2")
    assert shared["micro_batch"] == 4
    assert shared["memory"] == row("train.micro_batch=4")["memory"]
    assert row("train.micro_batch=2", "study.resources.processes=2")["micro_batch"] == 2


def test_changed_texts_are_measured_anew(tmp_path: Path) -> None:
    def tokens(question: str) -> int:
        lines = [
            {"image": "a.png", "question": question, "answer": answer, "split": split}
            for answer, split in product(("yes", "no") * 8, ("train", "val", "test"))
        ]
        (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return text_length(config(data={"name": "questions", "folder": str(tmp_path)})).tokens

    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    assert tokens("is it a dog") > tokens("dog")


def test_the_command_works_out_hours_at_an_assumed_speed(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--json", "--tflops", "0.001") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["assumed"] == {"tflops": 0.001, "device_hours": told["totals"]["executed"] / 1e9 / 3600}
    assert command("--tflops", "0.001") == 0
    assert "at 0.001 TFLOP/s sustained – assumed, not measured" in " ".join(capsys.readouterr().out.split())


def test_the_command_tells_what_it_timed(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtlab.studies.budget.calibration.MIN_SECONDS", 0.0)
    assert command("--calibrate", "train.device=cpu", "data.families=[count, shape]") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "timed: bridge: 3 steps of 8 examples on cpu, threads 1" in told
    assert "train.device=cpu 'data.families=[count, shape]'" in told.partition("next: mtlab plan")[2]


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("text.max_lenght=40", "did you mean 'max_length'?"),
        ("model.heads=3", "3 heads do not divide the width 16"),
        ("vision.image_size=30", "patches of 8 do not divide images of 30"),
    ],
)
def test_wrong_input_is_one_line(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], override: str, complaint: str
) -> None:
    assert command(override) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert len(error.strip().splitlines()) == 1
