"""A search overwrites no setting, and its conditions depend on what is searched before."""

from pathlib import Path

import pytest
from imagined import Opened, free, write_sweep
from tiny_mllm import tiny_language_model

from mtlab.errors import UserError
from mtlab.studies.plan import make_plan
from mtlab.studies.spec import read_study
from mtlab.sweeps.spec import FinalRules, read_sweep
from mtlab.sweeps.stored import open_sweep
from mtlab.sweeps.variants import PreparedSweep, prepare
from mtlab.sweeps.winners import to_yaml, winners, winners_study

LR = "train.lr: {float: [1e-4, 1e-1], log: true}"
NAMES = "manager.name: {choice: [static, adaptive]}"
OF_SCALAR = "train.lr: {float: [1e-4, 1e-1], when: {manager.weight: scalar}}"


def prepared(folder: Path, text: str, *overrides: str) -> PreparedSweep:
    return prepare(read_sweep(write_sweep(folder, text), overrides), free)


def told(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        prepared(folder, text, *overrides)
    return str(caught.value).partition(": ")[2]


def test_a_search_of_names_wipes_no_option_that_is_set_here(tmp_path: Path) -> None:
    text = f"set: {{manager: {{name: static, weight: scalar}}}}\nspace: {{{NAMES}}}"
    assert told(tmp_path, text) == "set.manager: is searched too (space.manager.name): remove one of the two"
    (tmp_path / "low.yaml").write_text("set: {manager: static}\n")
    path = write_sweep(tmp_path, f"space: {{{NAMES}}}")
    path.write_text(path.read_text().replace("base: imagined", "base: [imagined, low]"))
    with pytest.raises(UserError, match=r"command line: manager\.weight: is searched too \(space\.manager\.name\)"):
        prepare(read_sweep(path, ["manager.weight=scalar"]), free)
    models = "space: {model: {choice: [two_towers, {mlp_ratio: 2}]}}"
    assert prepared(tmp_path, models, "model.dropout=0.3").variants[0].cell.config["model"]["dropout"] == 0.3
    assert told(tmp_path, models, "model.mlp_ratio=4").startswith("model.mlp_ratio: is searched too (space.model)")


def test_a_condition_depends_on_names_that_are_searched_before(tmp_path: Path) -> None:
    (tmp_path / "low.yaml").write_text("set: {manager: {name: static, weight: scalar}}\n")

    def write(space: str) -> Path:
        path = write_sweep(tmp_path, f"space: {{{space}}}")
        path.write_text(path.read_text().replace("base: imagined", "base: [imagined, low]"))
        return path

    (variant,) = prepare(read_sweep(write(f"{NAMES}, {OF_SCALAR}")), free).variants
    assert variant.space[1].when == {"manager.weight": "scalar"}  # which an adaptive manager does not have
    with pytest.raises(UserError, match=r"space\.train\.lr: depends on manager\.name, which must stand before it"):
        prepare(read_sweep(write(f"{OF_SCALAR}, {NAMES}")), free)


def test_start_points_and_parameters_are_added_on_the_command_line(tmp_path: Path) -> None:
    changes = ("study.start_from.train.lr=1e-3", "study.space.model.cross_layers.int=[1, 2]")
    (variant,) = prepared(tmp_path, f"space: {{{LR}}}", *changes).variants
    assert [each.path for each in variant.space] == ["train.lr", "model.cross_layers"]
    assert variant.start_points == ({"train.lr": 1e-3},)


KINDS = """
over:
  system:
    zip:
      manager: [static, residual_static]
      text: [{name: tiny_text, layers: all}, {name: causal_lm, model: LM}]
      model.name: [two_towers, mllm]
      train.optimizer: [muon, adamw]
    labels: [towers, language model]
space:
  train.lr: {choice: [1e-3, 2e-3]}
  model.projector_layers: {choice: [1, 2], when: {model.name: mllm}}
  model.dropout: {choice: [0.0, 0.1], when: {model.name: two_towers}}
budget: {trials: 2}
"""


def test_winners_of_two_kinds_of_model_are_an_ablation_of_the_same_cells(tmp_path: Path) -> None:
    """Each has options that the other kind does not know."""
    words = ["<pad>", "<end>", "Question:", "Answer:", *(str(n) for n in range(30)), "?"]
    language_model = str(tiny_language_model(tmp_path / "lm", words))
    opened = Opened(write_sweep(tmp_path, KINDS.replace("LM", language_model)), tmp_path / "runs")
    opened.search()
    plan = opened.store.plan("hunt")
    with open_sweep(opened.store, plan) as (_, found):
        chosen = winners(found)
    path = tmp_path / "final.yaml"
    path.write_text(to_yaml(winners_study(plan, chosen, name="final", final=FinalRules(seeds=2)), plan, chosen))
    made = make_plan(read_study(path), free)
    assert [cell.id for cell in made.cells] == [winner.cell for winner in chosen]
