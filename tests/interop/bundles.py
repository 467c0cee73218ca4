"""Published models to read: the committed golden bundles, and those that `MTLAB_GOLDEN` names."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from mtlab.interop.architecture import Hyperparameters
from mtlab.model.network import VisionLanguageModel
from mtlab.runs.imported_checkpoint import read_imported_checkpoint
from mtlab.tasks.build import build
from mtlab.towers.build import build_tower, tower_shape

ROOTS = [Path(__file__).parents[1] / "golden", *map(Path, filter(None, [os.environ.get("MTLAB_GOLDEN")]))]


@cache
def folders() -> dict[str, Path]:
    """Find the bundles with whole state dicts, towers included."""
    found = {}
    for root in ROOTS:
        for file in sorted(root.glob("*/state_dict.safetensors")):
            with safe_open(file, "pt") as opened:
                if any("word_embeddings" in name for name in opened.keys()):  # noqa: SIM118 - no iterator
                    found.setdefault(file.parent.name, file.parent)
    return found


def folder_of(bundle: str) -> Path:
    """Find a bundle, or skip the test where its towers are not here."""
    if bundle not in folders():
        pytest.skip(f"the whole bundle {bundle} is not here: set MTLAB_GOLDEN")
    return folders()[bundle]


def weights(bundle: str) -> dict[str, Tensor]:
    """Read a bundle's state dict."""
    return load_file(folder_of(bundle) / "state_dict.safetensors")


def loaded(folder: Path) -> VisionLanguageModel:
    """Build the model of an imported checkpoint with all its weights, in evaluation mode."""
    found = read_imported_checkpoint(folder)
    model = build(
        found.config,
        tower_shape("text", found.config["text"]),
        tower_shape("vision", found.config["vision"]),
        answers=found.answers,
        text_tower=build_tower("text", found.config["text"]),
        vision_tower=build_tower("vision", found.config["vision"]),
    )
    model.load_state_dict(found.tensors)
    return model.eval()


def hyperparameters(bundle: str) -> Hyperparameters:
    """Tell what the authors' code would fix: the tiny bundles have other numbers of heads."""
    config = json.loads((folder_of(bundle) / "config.json").read_text())
    return Hyperparameters(text_heads=config["text"]["num_attention_heads"], vision_heads=config["vision"]["heads"])


def checkpoint(bundle: str, path: Path, change: Callable[[dict[str, Tensor]], object] = lambda _: None) -> Path:
    """Write a bundle's weights as Lightning would, with the settings that its code was given."""
    state = weights(bundle)
    change(state)
    options = json.loads((folder_of(bundle) / "config.json").read_text())["official_config"]
    torch.save({"epoch": 3, "state_dict": state, "hyper_parameters": {"config": options}}, path)
    return path


def hugging_face(bundle: str, folder: Path) -> Path:
    """Write a bundle of transformers' BridgeTower as `save_pretrained` would."""
    folder.mkdir()
    shutil.copy(folder_of(bundle) / "state_dict.safetensors", folder / "model.safetensors")
    config = json.loads((folder_of(bundle) / "config.json").read_text())["config"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def official() -> list[str]:
    """Name the bundles of the authors' code."""
    return [name for name in folders() if not name.startswith("hf_")]
