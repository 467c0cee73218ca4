"""The recipes that span tasks, shortened: tiny towers, a few pictures, two steps – from the file to the table."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from calling import Finished, mtlab
from trained_here import run_study

from mtlab.config.load import recipe_folders
from mtlab.runs.store import Store

FOLDER = recipe_folders()[0]
TINY: dict[str, Any] = {
    "text": {"name": "tiny_text", "depth": 3, "width": 16, "layers": "top3"},
    "vision": {"name": "tiny_vision", "depth": 3, "width": 16, "layers": "top3"},
    "model": {"width": 16, "heads": 2, "cross_layers": 2, "mlp_ratio": 1},
}
SMALL = {"train": 64, "val": 48, "test": 48, "image_size": 32}
LENGTH = {"batch": 8, "length": {"steps": 2}, "eval_every": 1}


def succeeds(*words: object) -> Finished:
    done = mtlab(*words, seconds=800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def small(data: Any) -> Any:
    """Shrink a data set; pictograms are as many as they are."""
    if data == "pictograms":
        return {"name": "pictograms", "image_size": 32}
    return {**data, **SMALL}


def shorten(name: str, folder: Path, managers: int) -> Path:
    """Write a shortened copy of a recipe, with some of its managers, from `bridge` on, and one seed."""
    study = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    study["set"] |= TINY | {"train": LENGTH}
    if "data" in study["set"]:
        study["set"]["data"] = small(study["set"]["data"])
    for axis in study["axes"].values():
        if isinstance(axis, dict) and "data" in axis.get("zip", {}):
            axis["zip"]["data"] = [small(node) for node in axis["zip"]["data"]]
        if isinstance(axis, dict) and "zip" in axis:
            axis["zip"] = {key: values for key, values in axis["zip"].items() if not key.startswith("train.")}
    if "variant" in study["axes"]:  # managers with levels that the tiny towers do not have
        study["axes"] = {"manager": study["axes"].pop("variant")["zip"]["manager"][:managers], **study["axes"]}
        study["baseline"] = {{"variant": "manager"}.get(axis, axis): value for axis, value in study["baseline"].items()}
    else:
        study["axes"]["manager"] = study["axes"]["manager"][1 : 1 + managers]
    study["seeds"] = 1
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


@pytest.mark.slow
def test_all_tasks_from_file_to_table(tmp_path: Path) -> None:
    file = shorten("tasks", tmp_path, 1)
    run_study(file, Store.open(Path(os.environ["MTLAB_STORE"]), create=True))
    rows = json.loads(succeeds("report", file, "--json").stdout)["rows"]
    worlds = yaml.safe_load(file.read_text())["axes"]["world"]["labels"]
    assert {row["label"] for row in rows} == {f"bridge · {world}" for world in worlds}
    assert all(0 <= row["mean"] <= 1 for row in rows)


@pytest.mark.slow
def test_fine_tuning_starts_from_the_captions(tmp_path: Path) -> None:
    shorten("pretraining_captions", tmp_path, 1)
    file = shorten("pretraining", tmp_path, 1)
    succeeds("run", file)
    rows = json.loads(succeeds("report", file, "--json").stdout)["rows"]
    assert {row["label"] for row in rows} == {"bridge · from scratch", "bridge · pre-trained"}
    runs = json.loads(succeeds("plan", file, "--json").stdout)["runs"]
    started = [run for run in runs if run["label"].endswith("pre-trained")]
    assert len(started) == 1
    for run in started:
        log = (Path(os.environ["MTLAB_STORE"]) / "cells" / run["cell"] / "s0/log.txt").read_text()
        assert "of the model's" in log
        assert "new: 6 weights of the task's own heads" in log  # what questions need and captions do not
        assert "kept encoder" not in log
