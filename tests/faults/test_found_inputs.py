"""Inputs that the bad-input campaign found to end in a traceback, once: now refused in one line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_study import write_study

from mtlab.cli import main

BUNDLE = Path(__file__).parents[1] / "golden" / "hf_bridgetower_add"
WRONG = [("hidden_dropout_prob", None), ("pad_token_id", {}), ("bos_token_id", [[]])]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_bundle_whose_text_encoder_is_described_wrongly(
    key: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(BUNDLE, folder)
    data = json.loads((folder / "config.json").read_text())

    def change(node: Any) -> None:
        for name, inner in node.items() if isinstance(node, dict) else ():
            if name == key:
                node[name] = value
            change(inner)

    change(data)
    (folder / "config.json").write_text(json.dumps(data))
    monkeypatch.setattr(sys, "argv", ["mtlab", "verify", str(folder)])
    assert main() in (0, 2)  # what the encoder does not use may be anything
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if key == "hidden_dropout_prob":
        assert said.startswith("error: ")


def test_a_mapping_where_a_list_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path, "axes: {manager: [last, bridge]}\nmetrics: {report: {cost: true}}")
    monkeypatch.setattr(sys, "argv", ["mtlab", "plan", str(study)])
    assert main() == 2
    assert "metrics.report: expected a list, found a mapping" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("[0, 2]", "expected a single value, found a list"),
        ("{a: 1}", "expected a single value, found a mapping"),
        ("x", "expected a whole number, found 'x'"),
        ("null", "expected a whole number, found nothing"),
    ],
)
def test_an_item_of_a_list_that_is_no_number(
    item: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inject = f"set: {{model: {{name: mllm, inject: {{layers: [0, {item}]}}}}}}"
    path = tmp_path / "study.yaml"
    path.write_text(f"kind: ablation\nname: reading\n{inject}\naxes: {{manager: [last, residual_static]}}\n")
    monkeypatch.setattr(sys, "argv", ["mtlab", "plan", str(path), "--store", str(tmp_path / "runs")])
    assert main() == 2
    assert f"model.inject.layers[1]: {said}" in capsys.readouterr().err


def test_captions_of_a_language_model_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "kind: ablation\nname: reading\naxes: {manager: [last, residual_static]}\n"
        "set: {model: {name: mllm, answers: generate, answer_tokens: 32}, data: shapes_captions, task: captioning,\n"
        "  text: {name: tiny_text, depth: 3, width: 16, layers: all}}\n"
    )
    monkeypatch.setattr(sys, "argv", ["mtlab", "plan", str(path), "--store", str(tmp_path / "runs")])
    assert main() == 2
    assert "needs a causal language model" in capsys.readouterr().err


def test_planted_towers_on_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    towers = "set: {text: {name: planted, depth: 3, planted: 2}, vision: {name: planted, depth: 3, planted: 2}}"
    study = write_study(tmp_path, f"axes: {{manager: [last, bridge]}}\n{towers}")
    words = ["budget", str(study), "--calibrate", "--store", str(tmp_path / "runs")]  # which reads texts
    monkeypatch.setattr(sys, "argv", ["mtlab", *words])
    assert main() == 2
    assert "towers `planted` read the texts of data set `planted` alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    "setting",
    [
        "model.cross_layers=364018",
        "text.depth=364018",
        "model.heads=0",
        "text.heads=0",
        "model.width=2000000000",
        "model.mlp_ratio=56649140143029384",
        "text.width=2000000000",
        "vision.image_size=2000000000",
        "text.vocabulary=1000000000000000000",
        "text.max_length=2000000000",
        "text.seed=1180591620717411303424",
    ],
)
def test_a_number_that_would_be_divided_by_counted_to_or_overflow(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path, "axes: {manager: [last, bridge]}")
    monkeypatch.setattr(sys, "argv", ["mtlab", "plan", str(study), setting])
    assert main() == 2
    key, value = setting.split("=")
    assert f"{key}: {value} is out of range" in capsys.readouterr().err
