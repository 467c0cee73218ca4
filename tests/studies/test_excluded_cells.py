"""Cells that a rule leaves out need not work, not even alone."""

from pathlib import Path

import pytest
from tiny_study import write_study

from mtlab.errors import UserError
from mtlab.resolution.defaults import fill_what_fits
from mtlab.studies.expand import expand
from mtlab.studies.spec import read_study

SIZES = "axes: {model.width: [16, 20], model.heads: [2, 8]}"


def labels(folder: Path, text: str) -> list[str]:
    return [row.label for row in expand(read_study(write_study(folder, text)))]


def told(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        labels(folder, text)
    return str(caught.value).removeprefix(f"{folder}/study.yaml:")


def test_settings_that_do_not_fit_together_are_left_out(tmp_path: Path) -> None:
    others = ["width 16 · heads 2", "width 16 · heads 8", "width 20 · heads 2"]
    assert labels(tmp_path, f"{SIZES}\nexclude: [{{model.width: 20, model.heads: 8}}]") == others
    by_default = "exclude: [{model.width: 20, model.heads: 8, model.dropout: 0.1, train.lr: 1e-3}]"
    assert labels(tmp_path, f"{SIZES}\n{by_default}") == others
    power = "axes: {train.decay: [linear, cosine], train.power: [1.0, 2.0]}"
    assert len(labels(tmp_path, f"{power}\nexclude: [{{train.decay: cosine, train.power: 2.0}}]")) == 3
    lacking = "axes: {manager: [bridge, static], manager.temperature: [0.5, 1]}\nexclude: [{manager: bridge}]"
    assert labels(tmp_path, lacking) == ["static · manager.temperature 0.5", "static · manager.temperature 1"]


def test_what_is_not_left_out_is_refused_as_ever(tmp_path: Path) -> None:
    problem = "3: axes.model.heads: 8: 8 heads do not divide the width 20"
    assert told(tmp_path, SIZES) == problem
    assert told(tmp_path, f"{SIZES}\nexclude: [{{model.width: 16, model.heads: 8}}]") == problem


def test_what_is_left_out_counts_as_present(tmp_path: Path) -> None:
    """The rule and the condition name values that only cells have which do not work."""
    lr = "train.lr: {values: [1e-3, 1e-2], unless: {model.heads: 3}}"
    only = f"axes: {{model.heads: [2, 3], {lr}}}\nexclude: [{{model.heads: 3}}]"
    assert labels(tmp_path, only) == ["heads 2 · lr 0.001", "heads 2 · lr 0.01"]
    mistyped = only.replace("[{model.heads: 3}]", "[{model.heads: 3}, {model.heads: 4}]")
    assert "exclude[1].model.heads: 4 matches no value of axis 'model.heads'" in told(tmp_path, mistyped)


def test_a_section_that_is_wrong_is_as_written_on_its_defaults() -> None:
    filled = fill_what_fits({"model": {"width": 20, "heads": 8}, "manager": {"name": "bridge", "temperature": 1}})
    assert filled["model"]["width"] == 20
    assert filled["model"]["cross_layers"] == 3
    assert filled["manager"] == {"name": "bridge", "experts": None, "temperature": 1}
    assert filled["train"]["lr"] == 1e-3
    assert fill_what_fits({"text": "no_such_tower"})["text"]["name"] == "no_such_tower"
    assert fill_what_fits({"model": 5})["model"] == 5
