"""A study of managers in a language model, from its file to its figures, on a tiny model of words."""

import json
from pathlib import Path

import polars
import pytest
from calling import mtlab_at
from tiny_mllm import tiny_language_model

from mtlab.data.worlds.shapes import Shapes
from mtlab.launch.prepare import plan_study
from mtlab.studies.budget.study_budget import study_budget
from mtlab.studies.expand import expand
from mtlab.studies.spec import read_study

STUDY = """
kind: ablation
name: seen
why: Is a language model that reads images a study like others?
set:
  text: {{name: causal_lm, model: {folder}, prompt: "Question: {{}} Answer:", trainable: true}}
  vision: {{name: tiny_vision, depth: 3, width: 16}}
  model: {{name: mllm, inject: {{layers: [0, 2]}}}}
  task: question_answering
  data: {{name: shapes, train: 64, val: 16, test: 16}}
  train: {{batch: 8, length: {{steps: 6}}, eval_every: 3, checkpoint_every: 2}}
axes:
  manager: [last, bridge, residual_static]
  model.inject: {{values: [{{layers: [0, 2]}}, {{layers: [0]}}], unless: {{manager: last}}}}
baseline: {{manager: last}}
seeds: 1
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    world = Shapes(Shapes.Config(train=64, val=16, test=16))
    words = {word for split in ("train", "val") for each in world.examples(split) for word in each.text.split()}
    known = ["<pad>", "<end>", "Question:", "Answer:", *sorted(words | set(world.answers)), "<unknown>"]
    path = folder / "seen.yaml"
    path.write_text(STUDY.format(folder=tiny_language_model(folder / "lm", known)))
    return path


def test_the_axis_of_injection_names_its_rows(study: Path) -> None:
    rows = expand(read_study(study))
    assert [row.label for row in rows] == [
        "last",
        "bridge · inject layers [0, 2]",
        "bridge · inject layers [0]",
        "residual_static · inject layers [0, 2]",
        "residual_static · inject layers [0]",
    ]
    assert rows[1].config["model"]["inject"]["layers"] == [0, 2]


def test_a_budget_suggests_shared_layers_where_they_are_not(study: Path) -> None:
    def can_shard(*overrides: str) -> bool:
        plan = plan_study(study, ["study.axes={manager: [last]}", *overrides], plugins=False)
        (row,) = study_budget(plan, timed=False, progress=lambda _: None)
        return row.can_shard

    assert can_shard("study.resources.processes=2")
    assert not can_shard("study.resources.processes=2", "train.shard=true")


@pytest.mark.slow
def test_a_study_from_its_file_to_its_figures(study: Path) -> None:
    folder = study.parent
    told = mtlab_at(folder, "budget", study.name, "--json")
    assert told.returncode == 0, told.stderr
    parts = json.loads(told.stdout)["rows"][2]["params"]
    assert min(parts[part] for part in ("text tower", "projections", "managers")) > 0
    assert (parts["head"], parts["cross-modal layers"]) == (0, 0)
    ran = mtlab_at(folder, "run", study.name)
    assert ran.returncode == 0, ran.stderr
    run = next(iter((folder / "runs" / "cells").glob("*/s0")))
    for command in (("intervene", run), ("report", "seen", "--format", "html")):
        told = mtlab_at(folder, *command)
        assert told.returncode == 0, (command, told.stdout, told.stderr)
    page = (folder / "runs" / "studies" / "seen" / "report" / "report.html").read_text()
    assert "layer 2" in page
    table = mtlab_at(folder, "report", "seen", "--by", "layer", "--format", "json")
    assert {row["layer"] for row in json.loads(table.stdout)["rows"]} == {0, 2}
    inspected = mtlab_at(folder, "inspect", run, "--json")
    found = json.loads(inspected.stdout)
    assert found["text"]["layers"] == []
    assert found["image"]["layers"][0]["layer"] == 0
    assert polars.read_parquet(run / "examples.parquet").height == 32
