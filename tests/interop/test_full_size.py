"""The published models at their published size: every name and shape has its place."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtlab.interop import architecture, heads
from mtlab.interop.exporting import export
from mtlab.interop.families import detect_layout
from mtlab.interop.importing import STANDARDISATION, ImportOptions, check_shapes, expected_weights, import_checkpoint
from mtlab.interop.weight_names import UNMAPPED, to_ours, to_theirs, weight_mappings
from mtlab.resolution.defaults import fill_defaults

#: Names and shapes of the official models (see tests/golden/README.md); `#` stands for the numbers of layers.
NAMES = Path(__file__).parents[1] / "golden" / "state_dict_names_base.json"
DEAD = 631_040  #: parameters that nothing reads; ManagerTower has one temperature more in each manager
FINE_TUNED = ["vqa", "nlvr2", "snli", "irtr_itm_itc"]


@cache
def published() -> dict[str, dict[str, tuple[int, ...]]]:
    """Unfold the committed list: model → name → shape; pre-trained ones, then ManagerTower fine-tuned."""
    stored = json.loads(NAMES.read_text())
    found: dict[str, dict[str, tuple[int, ...]]] = {model: {} for model in stored["models"]}
    for pattern, shape, models, numbers in stored["weights"]:
        for layers in numbers:
            name = pattern
            for number in layers:
                name = name.replace("#", str(number), 1)
            for model in models:
                found[stored["models"][model]][name] = tuple(shape)
    body = {
        name: shape
        for name, shape in found["MT-AAUE-vector"].items()
        if not name.startswith(("mlm_score.", "itm_score."))
    }
    return found | {task: body | {n: tuple(s) for n, s in own.items()} for task, own in stored["heads"].items()}


def original_meter() -> dict[str, tuple[int, ...]]:
    """METER as its authors first published it: 11 blocks in the vision tower, and no temperature."""
    names = published()["METER"]
    return {name: shape for name, shape in names.items() if ".resblocks.11." not in name and name != "temperature"}


CASES = ["METER", "original METER", "BT"] + [f"MT-{m}-{w}" for m in ("SAUE", "AAUE") for w in ("vector", "scalar")]


@pytest.mark.parametrize("model", CASES + FINE_TUNED)
def test_every_weight_of_the_published_size_has_its_place(model: str, tmp_path: Path) -> None:
    shapes = original_meter() if model == "original METER" else published()[model]
    layout = detect_layout(shapes)
    found = architecture.infer_sizes(layout, shapes)
    name = architecture.guess_task(layout)
    config: dict[str, Any] = architecture.infer_config(layout, shapes, found, architecture.Hyperparameters())
    config["task"], answers = architecture.infer_task(layout, shapes, found, name)
    text = architecture.text_config(layout, found, architecture.Hyperparameters())
    (tmp_path / "config.json").write_text(json.dumps(text))
    config["text"] |= {"model": str(tmp_path), "weights": "random"}
    config["vision"]["weights"] = "random"

    entries = weight_mappings(layout, name)
    theirs = {each: torch.empty(shape, device="meta") for each, shape in shapes.items()}
    expected = expected_weights(fill_defaults(config), answers)
    check_shapes(theirs, expected, entries)
    ours, unmapped = to_ours(theirs, entries)
    buffers = {each for each in expected if any(part in each for part in STANDARDISATION)}
    assert set(ours) == set(expected) - buffers
    back = to_theirs(ours, unmapped, entries)
    assert {each: tuple(tensor.shape) for each, tensor in back.items()} == shapes


def test_what_is_told_of_the_published_size() -> None:
    told = {}
    for model in CASES + FINE_TUNED:
        shapes = original_meter() if model == "original METER" else published()[model]
        layout = detect_layout(shapes)
        found = architecture.infer_sizes(layout, shapes)
        config = architecture.infer_config(layout, shapes, found, architecture.Hyperparameters())
        task, answers = architecture.infer_task(layout, shapes, found, architecture.guess_task(layout))
        told[model] = {**config, "task": task, "answers": answers}
    assert told["original METER"]["vision"]["depth"] == 11
    assert told["METER"]["manager"] == {"name": "last"}
    assert told["BT"]["manager"] == {"name": "bridge"}
    assert (told["BT"]["text"]["layers"], told["BT"]["vision"]["layers"]) == ("top6", "top6")
    assert told["MT-SAUE-scalar"]["manager"] == {"name": "static", "weight": "scalar", "noise": 1.0}
    assert told["MT-AAUE-vector"]["manager"]["mask_query"] is False
    vision = told["MT-AAUE-vector"]["vision"]
    assert {key: vision[key] for key in ("width", "depth", "heads", "patch", "image_size")} == {
        "width": 768,
        "depth": 12,
        "heads": 12,
        "patch": 16,
        "image_size": 288,
    }
    assert told["vqa"]["vision"]["image_size"] == 576
    assert told["vqa"]["task"] == {"name": "question_answering", "loss": "binary", "head_scale": 2.0}
    assert (told["vqa"]["answers"], told["nlvr2"]["answers"], told["snli"]["answers"]) == (3129, 2, 3)
    assert told["nlvr2"]["task"] == {"name": "reasoning", "head_scale": 1.0}
    assert told["irtr_itm_itc"]["task"] == {"name": "retrieval", "contrastive_width": 256}
    for config in told.values():
        assert (config["model"]["width"], config["model"]["heads"], config["model"]["mlp_ratio"]) == (768, 12, 4)


def test_dead_weights_are_those_that_are_known() -> None:
    for model, managers in {"METER": 0, "BT": 0, "MT-SAUE-vector": 12, "MT-AAUE-scalar": 12}.items():
        shapes = published()[model]
        layout = detect_layout(shapes)
        unmapped = [n for entry in weight_mappings(layout, "pretraining") for n in entry.ours if n.startswith(UNMAPPED)]
        dead = {name.removeprefix(UNMAPPED) for name in unmapped}
        learnt = dead - {"temperature", "text_transformer.embeddings.position_ids"}
        assert sum(torch.Size(shapes[name]).numel() for name in learnt) == DEAD + managers


def test_hugging_faces_own_names_are_ours() -> None:
    """Every name that transformers gives its BridgeTower is known, and nothing else is asked for."""
    from transformers import BridgeTowerConfig, BridgeTowerForMaskedLM

    with torch.device("meta"):
        state = BridgeTowerForMaskedLM(BridgeTowerConfig()).state_dict()
    layout = detect_layout({name: tuple(tensor.shape) for name, tensor in state.items()})
    assert (layout.dialect, layout.prefix, set(layout.heads)) == ("huggingface", "bridgetower.", {"mlm"})
    ours, unmapped = to_ours(state, weight_mappings(layout, "pretraining"))
    official = detect_layout(published()["BT"])
    theirs, _ = to_ours(
        {name: torch.empty(shape, device="meta") for name, shape in published()["BT"].items()},
        weight_mappings(official, "pretraining"),
    )
    itm = heads.HEADS["pretraining"]["itm"]
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.items() if not n.startswith(itm)}
    assert set(unmapped) == {f"bridgetower.text_model.pooler.dense.{part}" for part in ("weight", "bias")}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["MT-AAUE-vector", "original METER"])
def test_a_full_size_checkpoint_goes_through_and_back(model: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = original_meter() if model == "original METER" else published()[model]
    state: dict[str, Tensor] = {
        name: torch.randint(-9, 9, shape, generator=generator, dtype=torch.int8).to(torch.bfloat16)
        for name, shape in shapes.items()
    }
    torch.save({"state_dict": state}, tmp_path / "published.ckpt")
    told = import_checkpoint(tmp_path / "published.ckpt", tmp_path / "ours", ImportOptions())
    assert told.parameters > 300_000_000
    export(tmp_path / "ours", "official", tmp_path / "back.ckpt")
    back = torch.load(tmp_path / "back.ckpt", weights_only=True, mmap=True)["state_dict"]
    assert set(back) == set(state)
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in state.items())
