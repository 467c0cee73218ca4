"""What workers record: it survives kills, it changes nothing, and it says what the model did."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import RunMaker, outcome, stopped_at, train_apart
from torch import Tensor

from mtlab.inference.intervention import load_run
from mtlab.managers.base import MANAGERS, Aggregated, register_manager
from mtlab.managers.mixtures.mean import Mean
from mtlab.runs import checkpoints
from mtlab.runs.find_run import find_run
from mtlab.training.intervention_metrics import measure_interventions
from mtlab.training.worker import train

RECORDED = ("layers.safetensors", "trace.safetensors", "tokens.safetensors")


@pytest.mark.parametrize("step", [1, 3, 5, 6, 20, 29, 30])
def test_the_trace_of_a_resumed_run_is_that_of_an_undisturbed_one(make_run: RunMaker, step: int) -> None:
    whole, stopped = make_run("whole"), make_run("stopped")
    train(whole)
    assert stopped_at(stopped, step) == 143
    assert train(stopped) == 0
    assert outcome(stopped) == outcome(whole)  # every recorded file is among it


def test_steps_that_are_repeated_after_a_kill_stand_in_the_trace_once(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at step 24, between checkpoints at 12 and 24, it goes on from step 12 and passes step 20 again."""
    settings = {"train": {"checkpoint_every": 12}}
    whole, broken = make_run("whole", **settings), make_run("broken", **settings)
    train(whole)
    held: dict[str, bytes] = {}
    real = checkpoints.save

    def saving(path: Path, *args: Any) -> None:
        real(path, *args)
        if path.name == "last.safetensors" and not held:
            held["last"] = path.read_bytes()

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", saving)
        stopped_at(broken, 23)
    (broken / "checkpoints" / "last.safetensors").write_bytes(held["last"])  # as if killed without a word
    assert checkpoints.load(broken / "trace.safetensors")[0]["steps"].tolist() == [0, 1, 2, 5, 10, 20]
    assert train(broken) == 0
    assert outcome(broken) == outcome(whole)


def test_recording_changes_no_result(make_run: RunMaker) -> None:
    """Dropout, noise, order, weights: bit for bit the same with and without."""
    off = dict.fromkeys(("layers", "trace", "tokens"), False)
    on, without = make_run("on", record={"interventions": True}), make_run("without", record=off)
    assert train(on) == train(without) == 0
    assert all((on / name).exists() and not (without / name).exists() for name in RECORDED)
    for name in ("checkpoints/best.safetensors", "examples.parquet"):
        assert (on / name).read_bytes() == (without / name).read_bytes()
    one, two = (json.loads((folder / "result.json").read_text()) for folder in (on, without))
    assert one["metrics"] == two["metrics"]
    logged = [
        [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in file.read_text().splitlines()]
        for file in (on / "metrics.jsonl", without / "metrics.jsonl")
    ]
    assert logged[0] == logged[1]


def test_the_trace_tells_steps_gradients_and_the_same_arrays_as_the_layers(make_run: RunMaker) -> None:
    folder = make_run(vision={"layers": "top2"})
    train(folder)
    trace, about = checkpoints.load(folder / "trace.safetensors")
    layers, described = checkpoints.load(folder / "layers.safetensors")
    assert trace["steps"].tolist() == [0, 1, 2, 5, 10, 20, 30]
    assert trace["steps"].dtype == torch.int64
    gradients = {name for name in trace if name.startswith("gradient/")}
    assert gradients == {"gradient/encoder", "gradient/head", "gradient/layer weights"}
    for name in gradients:
        assert trace[name][0].isnan()
        assert (trace[name][1:] > 0).all()
    assert trace.keys() - gradients - {"steps"} == layers.keys()
    assert all(trace[name].shape == (7, *layers[name].shape) for name in layers)
    assert about["labels"] == described["labels"]
    assert (about["examples"], described["examples"]) == (32, 40)  # on the way, and at the end: all of validation
    assert described["step"] == json.loads((folder / "result.json").read_text())["best_step"]
    assert all(values.dtype == torch.float32 for values in layers.values())


def test_a_step_that_nobody_could_foresee_is_the_last(make_run: RunMaker) -> None:
    settings = {"train": {"length": {"steps": 400}, "eval_every": 4, "patience": 2, "lr": 1e-9}}
    whole, stopped = make_run("whole", **settings), make_run("stopped", **settings)
    train(whole)
    stopped_at(stopped, 7)
    train(stopped)
    assert outcome(stopped) == outcome(whole)
    trace, _ = checkpoints.load(whole / "trace.safetensors")
    assert trace["steps"][-1] == json.loads((whole / "result.json").read_text())["steps"]
    assert trace["gradient/head"][-1].isnan()


def test_recorded_layers_are_labelled_and_documented(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(vision={"layers": "top2"})
    train(folder)
    tensors, about = checkpoints.load(folder / "layers.safetensors")
    assert about["levels"] == {"text": [1, 2, 3], "image": [2, 3]}
    assert about["labels"]["weights/image/1"] == ["level 2", "level 3", "previous 1"]
    assert about["labels"]["contributions_examples/text/0"] == ["level 1", "level 2", "level 3"]
    shapes = {name: tuple(values.shape) for name, values in tensors.items()}
    expected: dict[str, tuple[int, ...]] = {}
    for modality, experts in (("text", 3), ("image", 2)):
        expected |= {f"cosine/{modality}": (2, 2), f"cka/{modality}": (2, 2)}
        for depth in (0, 1):
            where = f"{modality}/{depth}"
            expected |= {f"temperature/{where}": ()}
            expected |= {f"attention/{where}/{kind}": (2,) for kind in ("self", "cross")}
            for kind in ("weights", "contributions"):
                expected |= {f"{kind}{spread}/{where}": (experts + depth,) for spread in ("", "_tokens", "_examples")}
                expected[f"{kind}_entropy/{where}"] = ()
            expected[f"weights_dimensions/{where}"] = (experts + depth,)
    assert shapes == expected
    assert tensors["weights/image/0"].sum().item() == pytest.approx(1)
    assert tensors["contributions/text/1"].sum().item() == pytest.approx(1)
    page = (Path(__file__).parents[2] / "docs/recording.md").read_text()
    for name in tensors:
        kind, _, where = name.partition("/")
        depth = "/".join("d" if part.isdigit() else part for part in where.split("/")[1:])
        assert f"`{kind}/M{f'/{depth}' if depth else ''}`" in page
    (shown,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    capsys.readouterr()
    exec(shown.replace("runs/cells/CELL/s0", str(folder)))
    assert capsys.readouterr().out.startswith("['level 1', 'level 2', 'level 3', 'previous 1']\n[0.")


def test_per_token_arrays_come_with_words_and_grid(make_run: RunMaker) -> None:
    folder = make_run(
        data={"name": "shapes", "train": 32, "val": 40, "test": 8, "families": ["colour", "shape"]},
        vision={"name": "tiny_vision", "depth": 2, "width": 16, "heads": 2},
    )
    assert train(folder) == 0
    tensors, about = checkpoints.load(folder / "tokens.safetensors")
    assert len(about["examples"]) == 32
    assert {each["family"] for each in about["examples"]} == {"colour", "shape"}
    assert about["grid"] == {"rows": 4, "columns": 4, "prefix": 1}
    mask, weights = tensors["mask/text"], tensors["weights/text/1"]
    assert mask.dtype == torch.bool
    assert weights.shape == (32, 4, mask.shape[1])
    assert tensors["contributions/image/0"].shape == (32, 2, 17)
    assert "mask/image" not in tensors
    torch.testing.assert_close(weights[:, :3].sum(1)[mask], torch.ones(int(mask.sum())))
    assert (weights.transpose(1, 2)[~mask] == 0).all()
    examples = {row["id"]: row for row in outcome_rows(folder)}
    for row, each in enumerate(about["examples"]):
        assert each["tokens"][0] == "[START]"
        assert len(each["tokens"]) == mask[row].sum()
        assert each["tokens"][-1] in ("?", ".")
        right = examples[each["id"]]["target"] == examples[each["id"]]["prediction"]
        assert (each["truth"] == each["prediction"]) == right


def outcome_rows(folder: Path) -> list[dict[str, Any]]:
    import polars

    return polars.read_parquet(folder / "examples.parquet").filter(polars.col("split") == "val").to_dicts()


@pytest.fixture
def silent() -> Any:
    """A manager of somebody else's, that records nothing."""

    @register_manager("silent_for_test")
    class Silent(Mean):
        """Records nothing."""

        @dataclass(frozen=True, kw_only=True)
        class Config:
            """No options."""

        def forward(self, *args: Any, record: bool = False, **kwargs: Any) -> Aggregated:  # noqa: ARG002
            return replace(super().forward(*args, record=False, **kwargs), weights=None, contributions=None)

    yield
    del MANAGERS.entries["silent_for_test"]


@pytest.mark.usefixtures("silent")
def test_a_manager_that_records_nothing_is_measured_by_removal(make_run: RunMaker) -> None:
    folder = make_run(manager={"name": "silent_for_test"}, record={"interventions": True})
    assert train(folder) == 0
    layers, about = checkpoints.load(folder / "layers.safetensors")
    kinds = {name.split("/")[0] for name in layers}
    shares = {"contributions", "contributions_tokens", "contributions_examples", "contributions_entropy"}
    assert kinds == {"cosine", "cka", "attention", "by_removal"} | shares
    assert about["labels"]["contributions/text/1"] == ["level 1", "level 2", "level 3", "previous 1"]
    assert layers["contributions/text/1"].sum().item() == pytest.approx(1)
    assert {name.split("/")[0] for name in checkpoints.load(folder / "tokens.safetensors")[0]} == {
        "mask",
        "contributions",
        "by_removal",
    }
    assert json.loads((folder / "result.json").read_text())["interventions"]["text"]["by"] == "input"

    run, given = load_run(find_run(str(folder), folder.parents[2]), device="cpu"), list[Tensor]()
    manager = run.model.encoder.manager("text", 1)
    manager.register_forward_pre_hook(lambda _, args: given.append(args[0].experts.states))
    measure_interventions(run.model, run.loader, 64, run.runtime, {"text": (1, 2, 3), "image": ()}, set())
    assert [states.eq(0).all((0, 2, 3)).tolist() for states in given] == torch.eye(3).bool().tolist()


@pytest.mark.parametrize("name", ["last", "bridge", "concat_attention"])
def test_managers_without_weights_or_temperature(make_run: RunMaker, name: str) -> None:
    folder = make_run(manager={"name": name})
    assert train(folder) == 0
    layers, _ = checkpoints.load(folder / "layers.safetensors")
    assert not any(name.startswith("temperature") for name in layers)
    assert all(values.isfinite().all() for values in layers.values())
    assert ("weights_entropy/text/1" in layers) == (name != "last")  # above the first layer no expert has a part
    assert layers["contributions/text/1"].sum().item() == pytest.approx(1)
    assert not any(name.startswith("by_removal") for name in layers)


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"cross_layers": 0}, "manager": {"name": "last"}},
        {"model": {"cross_layers": 1}, "text": {"layers": "top1"}},
    ],
)
def test_few_layers(make_run: RunMaker, sections: dict[str, Any]) -> None:
    folder = make_run(**sections)
    assert train_apart(folder) == 0
    layers, _ = checkpoints.load(folder / "layers.safetensors")
    assert "weights_entropy/text/0" not in layers
    assert bool(layers) == (sections["model"]["cross_layers"] == 1)
