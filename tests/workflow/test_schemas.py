"""The JSON Schemas of study and sweep files: every shipped file keeps them, and mistakes do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from tiny_study import write_study

from mtlab.config import yaml
from mtlab.studies.expand import expand
from mtlab.studies.recipes import copy_recipe
from mtlab.studies.spec import read_study
from mtlab.sweeps.spec import read_sweep
from mtlab.sweeps.variants import prepare
from mtlab.workflow.study_schema import study_schema
from mtlab.workflow.sweep_schema import sweep_schema

ROOT = Path(__file__).parents[2]
COMMITTED = {"study": ROOT / "experiments/study.schema.json", "sweep": ROOT / "sweeps/sweep.schema.json"}
FOLDERS = ("experiments", "sweeps", "examples", "analysis")
RECIPES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.yaml"))]
LINE = "# yaml-language-server: $schema="


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    return {"study": study_schema(), "sweep": sweep_schema()}


@pytest.mark.parametrize("kind", ["study", "sweep"])
def test_the_committed_schema_is_that_of_the_code(kind: str, schemas: dict[str, Any]) -> None:
    Draft7Validator.check_schema(schemas[kind])
    assert json.loads(COMMITTED[kind].read_text()) == schemas[kind], "run `make schemas`"


def test_every_shipped_file_keeps_the_schema_that_its_first_line_names() -> None:
    assert len(RECIPES) > 60
    for path in RECIPES:
        first = path.read_text().splitlines()[0]
        assert first.startswith(LINE), path
        named = (path.parent / first.removeprefix(LINE)).resolve()
        assert named in COMMITTED.values(), path
        problems = Draft7Validator(json.loads(named.read_text())).iter_errors(yaml.read(path).data)
        assert [f"{path.name}: {list(each.absolute_path)}: {each.message[:200]}" for each in problems] == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("study", "axis: {manager: [bridge]}"),
        ("study", "set: {trian: {lr: 1e-3}}"),
        ("study", "set: {train: {lr: fast}}"),
        ("study", "set: {train: {lr: -1.0}}"),
        ("study", "set: {train: {length: {step: 3}}}"),
        ("study", "set: {train: {optimizer: sgd}}"),
        ("study", "set: {manager: {name: static, wieght: scalar}}"),
        ("study", "set: {manager: {name: static, weight: scalars}}"),
        ("study", "axes: {manager: [{name: adaptive, querry: own}]}"),
        ("study", "seeds: {until: done}"),
        ("study", "launcher: cluster"),
        ("study", "kind: sweep"),
        ("sweep", "kind: ablation"),
        ("sweep", "kind: sweep\nspace: {train.lr: {flaot: [0.1, 1.0]}}"),
        ("sweep", "kind: sweep\nspace: {train.lr: {float: [0.1]}}"),
        ("sweep", "kind: sweep\nsampler: tpee"),
        ("sweep", "kind: sweep\nfinally: {seed: 3}"),
        ("sweep", "kind: sweep\nfinally: all"),
        ("sweep", "kind: sweep\nspace: all"),
        ("sweep", "kind: sweep\npruner: {interval_steps: 3}"),
    ],
)
def test_mistakes_are_marked(kind: str, text: str, schemas: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text(text)
    assert list(Draft7Validator(schemas[kind]).iter_errors(yaml.read(tmp_path / "file.yaml").data))


@pytest.mark.parametrize(
    "text",
    [
        "space: default\nsampler: {seed: 3}\nconstraints: null\nfinally: none",
        "space: {manager: default}\npruner: {name: median}\nobjective: null\nstart_from: null\nfinally: null",
    ],
)
def test_what_a_sweep_takes_is_not_marked(text: str, schemas: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text(f"kind: sweep\nname: x\n{text}")
    read_sweep(tmp_path / "file.yaml")
    assert list(Draft7Validator(schemas["sweep"]).iter_errors(yaml.read(tmp_path / "file.yaml").data)) == []


@pytest.mark.parametrize(
    "text",
    [
        "set: {train.lr: 1e-4, manager: static, text: {layers: top3}}",
        "set: {manager: {name: mine, any: option}}\nplugins: [mine]",
        "axes: {train.lr: [1e-4, 1e-3], manager: {values: [bridge], when: {model.width: 64}}}\nseeds: [3, 5]",
        "seeds: {until: decided, margin: 0.5}\nlauncher: {name: slurm, partition: gpu}\ntracking: {wandb: null}",
    ],
)
def test_what_plan_takes_is_not_marked(text: str, schemas: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text(text)
    assert list(Draft7Validator(schemas["study"]).iter_errors(yaml.read(tmp_path / "file.yaml").data)) == []


@pytest.mark.parametrize("kind", ["study", "sweep"])
def test_settings_by_path_within_a_section_are_not_marked(kind: str, schemas: dict[str, Any], tmp_path: Path) -> None:
    text = "set: {train: {length.steps: 5, batch: 4}}"
    if kind == "sweep":
        path = write_study(tmp_path, f"kind: sweep\nspace: {{train.lr: {{float: [1e-4, 1e-2]}}}}\n{text}")
        config = prepare(read_sweep(path)).variants[0].cell.config
    else:
        path = write_study(tmp_path, text)
        config = expand(read_study(path))[0].config
    assert (config["train"]["length"]["steps"], config["train"]["batch"]) == (5, 4)
    validator = Draft7Validator(schemas[kind])
    assert list(validator.iter_errors(yaml.read(path).data)) == []
    for section, marked in (("model: {inject.layers: [1]}", False), ("train: {lenght.steps: 5}", True)):
        path.write_text(f"kind: {'sweep' if kind == 'sweep' else 'ablation'}\nset: {{{section}}}")
        assert bool(list(validator.iter_errors(yaml.read(path).data))) == marked


def test_a_copied_recipe_names_the_schema_where_it_is() -> None:
    first = copy_recipe(ROOT / "experiments/paper/vqav2.yaml", "mine").splitlines()[0]
    assert first == f"{LINE}{COMMITTED['study']}"
