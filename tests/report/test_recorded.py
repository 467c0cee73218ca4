"""Files of recorded layers: whole ones are read as they are, missing and damaged ones are told in words."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import recordings
from safetensors.numpy import save_file

from mtlab.recording import reader
from mtlab.recording.reader import Layers, Missing, Tokens, TrainingTrace, Worth
from mtlab.report.figures.layers.replaced_weights import plot_replaced_weights
from mtlab.report.figures.layers.worth import plot_worth
from mtlab.report.recordings import StudyRun

READERS = {"layers": reader.read_layers, "trace": reader.read_trace, "tokens": reader.read_tokens}


def test_names_are_those_of_the_code_that_writes() -> None:
    from mtlab.managers.base import MODALITIES

    assert reader.MODALITIES == MODALITIES


def test_what_the_worker_writes_is_read(tmp_path: Path) -> None:
    import torch

    from mtlab.recording.averages import describe_averages
    from mtlab.runs import checkpoints

    values = {"weights/text/0": torch.tensor([0.25, 0.75]), "temperature/text/0": torch.tensor(0.5)}
    metadata = describe_averages(values, {"text": [5, 6]}, 9, 0) | {"step": 3}
    checkpoints.save(tmp_path / "layers.safetensors", values, metadata)
    read = reader.read_layers(tmp_path)
    assert isinstance(read, Layers)
    assert read.experts("weights", "text", 0).tolist() == [0.25, 0.75]
    assert (read.one("temperature", "text", 0), read.examples, read.step, read.first_layer) == (0.5, 9, 3, 0)
    assert read.labels == {"weights/text/0": ("level 5", "level 6")}
    assert read.experts_levels("text", 2) == (5, 6)


def test_layers_are_told_apart_from_previous_states(tmp_path: Path) -> None:
    recordings.write_layers(tmp_path, depths=2)
    read = reader.read_layers(tmp_path)
    assert isinstance(read, Layers)
    assert read.depths("contributions", "image") == (0, 1)
    assert len(read.experts("contributions", "image", 1)) == 4
    assert read.rows("contributions", "image", 1).sum() == pytest.approx(1)
    assert read.previous("contributions", "image", 0) is None
    assert read.previous("contributions", "image", 1) == pytest.approx(0.4)
    assert read.experts("contributions", "text", 1, "tokens").shape == (3,)
    assert read.labels["weights/text/1"] == ("level 4", "level 5", "level 6", "previous 1")
    assert read.experts("weights", "text", 7) is None


def test_a_trace_is_layers_step_by_step(tmp_path: Path) -> None:
    recordings.write_trace(tmp_path, seed=1)
    recordings.write_layers(tmp_path, seed=1)
    read, end = reader.read_trace(tmp_path), reader.read_layers(tmp_path)
    assert isinstance(read, TrainingTrace)
    assert isinstance(end, Layers)
    assert read.steps == tuple(recordings.STEPS)
    np.testing.assert_array_equal(read.layers[-1].experts("weights", "text", 2), end.experts("weights", "text", 2))
    assert np.isnan(read.gradients["managers"][0])
    assert not any(name.startswith("gradient") or name == "steps" for name in read.layers[0].values)


def test_tokens_are_the_real_ones(tmp_path: Path) -> None:
    recordings.write_tokens(tmp_path)
    read = reader.read_tokens(tmp_path)
    assert isinstance(read, Tokens)
    assert [read.rows("weights", "text", 1, each).shape for each in range(3)] == [(4, 6), (4, 5), (4, 4)]
    assert read.experts_levels("text", 4) == (4, 5, 6)
    assert len(read.examples[1].tokens) == 5
    assert read.rows("weights", "image", 0, 1).shape == (4, 17)  # no mask: all are real
    assert read.grid == reader.PatchGrid(4, 4, 1)
    assert (read.find("val/2/0"), read.find("val/9/0")) == (2, None)
    assert read.rows("weights", "image", 0, 99) is None


@pytest.mark.parametrize("kind", list(READERS))
def test_what_is_not_there_is_told_with_the_option_that_records_it(tmp_path: Path, kind: str) -> None:
    read = READERS[kind](tmp_path)
    assert isinstance(read, Missing)
    assert f"`record.{kind}` was off" in read.why


@pytest.mark.parametrize("kind", list(READERS))
@pytest.mark.parametrize("damage", ["cut", "bit", "text", "empty", "foreign", "no metadata of ours", "folder"])
def test_damaged_and_foreign_files_are_told(tmp_path: Path, kind: str, damage: str) -> None:
    path = getattr(recordings, f"write_{kind}")(tmp_path)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "bit":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "text":
        path.write_text("once upon a time")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "foreign":
        save_file({"weight": np.zeros(3)}, path)
    elif damage == "no metadata of ours":
        save_file({"weight": np.zeros(3)}, path, {"mtlab": "[1]"})
    else:
        path.unlink()
        path.mkdir()
    read = READERS[kind](tmp_path)
    assert isinstance(read, Missing)
    if damage != "folder":
        assert str(path) in read.why
        assert {"bit": "its checksum differs", "foreign": "was not written by mtlab"}.get(damage, "") in read.why
    assert "\n" not in read.why


def test_interventions_become_drops() -> None:
    metrics = {"val/accuracy": 0.7, "val/accuracy/count": 0.6, "test/accuracy/count": 0.1}
    result = {"metrics": metrics, "interventions": recordings.interventions(accuracy=0.7)}
    swaps = {"swap/3": {"metric": "val/accuracy", "text": 0.5, "image": None, "both": 0.4}}
    read = reader.read_worth(result, swaps)
    assert isinstance(read, Worth)
    assert read.drop("text", 4) == pytest.approx(0.7 - result["interventions"]["text"]["without"]["4"])
    assert read.drop("text", 9) is None
    of_families = result["interventions"]["text"]["families"]["4"]
    assert read.family_drop("text", 4, "count") == pytest.approx(0.6 - of_families["count"])
    assert (read.family_drop("text", 9, "count"), read.family_drop("text", 4, "shape")) == (None, None)
    assert read.family_names == ["colour", "count"]
    assert read.uniform == {"text": pytest.approx(0.6), "image": pytest.approx(0.6)}
    assert read.swapped == {3: {"text": 0.5, "both": 0.4}}
    # measured on demand, where training did not
    on_demand = reader.read_worth({**result, "interventions": None}, {"standard": result["interventions"], **swaps})
    assert on_demand == read
    # the weights of another seed alone
    alone = reader.read_worth({**result, "interventions": None}, swaps)
    assert isinstance(alone, Worth)
    assert (alone.metric, alone.undisturbed, alone.swapped) == ("val/accuracy", 0.7, read.swapped)
    assert (alone.drop("text", 4), alone.uniform, alone.by) == (None, {}, {})
    run = StudyRun("bridge", 0, "bridge/s0")
    assert plot_replaced_weights({run: alone}).data
    assert "was not measured" in plot_worth({}, {run: alone}).layout.annotations[0].text
    # measured in training and, `--again`, on demand
    older = {**result, "interventions": recordings.interventions(accuracy=0.5)}
    assert reader.read_worth(older, {"standard": result["interventions"], **swaps}) == read
    # a manager that is no mixture, and a metric that was not measured
    result["interventions"]["text"] = {"by": "input", "uniform": None, "without": {"4": 0.1}}
    read = reader.read_worth({**result, "metrics": {}})
    assert isinstance(read, Worth)
    assert (read.by["text"], read.uniform.get("text"), read.drop("text", 4)) == ("input", None, None)


@pytest.mark.parametrize(
    ("result", "why"), [(None, "not finished"), ({}, "mtlab intervene"), ({"interventions": None}, "mtlab intervene")]
)
def test_interventions_that_were_not_made_are_told(result: dict | None, why: str) -> None:
    read = reader.read_worth(result)
    assert isinstance(read, Missing)
    assert why in read.why


def test_neither_readers_nor_figures_import_torch(tmp_path: Path) -> None:
    recordings.write_layers(tmp_path / "s0")
    code = (
        "import json, sys, pkgutil, importlib; from pathlib import Path; from mtlab.recording import reader;"
        "from mtlab.report import figures;"
        "names = [each.name for each in pkgutil.walk_packages(figures.__path__, 'mtlab.report.figures.')];"
        "[importlib.import_module(name) for name in names];"
        "reader.read_layers(Path(sys.argv[1])); heavy = {'torch', 'pandas', 'kaleido', 'transformers', 'scipy.stats'};"
        "print(json.dumps([names, sorted(heavy & set(sys.modules))]))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s0")], check=True, capture_output=True, text=True
    )
    names, heavy = json.loads(shown.stdout)
    assert len(names) > 10
    assert heavy == []
