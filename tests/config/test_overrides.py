"""Overrides of the command line: by path into what files declare, and values that begin no comment."""

from pathlib import Path
from typing import Any

import pytest

from mtlab.config.load import compose, parse_override
from mtlab.errors import UserError


def composed(folder: Path, text: str, *overrides: str) -> dict[str, Any]:
    (folder / "file.yaml").write_text(text)
    return compose(folder / "file.yaml", overrides).data


@pytest.mark.parametrize("value", ["It's issue #5", "it [is] #5", "# 5", "a #", "5 # of them"])
def test_a_value_is_not_cut_at_a_comment(value: str) -> None:
    with pytest.raises(UserError, match=r"study\.why: # begins a comment: quote the value, study\.why='\"…\"'"):
        parse_override(f"study.why={value}")


@pytest.mark.parametrize("value", ["It's issue#5", "'a # b'", '"a # b"', "[a, '# b']", "{a: '# b'}"])
def test_what_is_no_comment_is_taken(value: str) -> None:
    assert "#" in str(parse_override(f"study.why={value}")[1])


def test_start_points_are_named_by_path(tmp_path: Path) -> None:
    for written in ("default", "{train.lr: 1e-2}", "[default]"):
        data = composed(tmp_path, f"start_from: {written}", "study.start_from.train.lr=1e-3")
        assert data["start_from"] == {"train.lr": 1e-3}
    both = composed(tmp_path, "start_from: {train.clip: 1.0}", "study.start_from.train.lr=1e-3")
    assert both["start_from"] == {"train.clip": 1.0, "train.lr": 1e-3}


def test_parameters_and_axes_that_are_not_there_yet_are_named_by_path(tmp_path: Path) -> None:
    space = composed(tmp_path, "space: default", "study.space.model.cross_layers.int=[1, 2]")["space"]
    assert space == {"model.cross_layers": {"int": [1, 2]}}
    changes = ("study.axes.train.lr.values=[1, 2]", "study.axes.train.lr.when.manager.name=static")
    axes = composed(tmp_path, "axes: {manager: [last]}", *changes)["axes"]
    assert axes == {"manager": ["last"], "train.lr": {"values": [1, 2], "when": {"manager.name": "static"}}}
    zipped = composed(tmp_path, "name: x", "study.over.size.zip.train.lr=[1]", "study.over.size.labels=[a]")["over"]
    assert zipped == {"size": {"zip": {"train.lr": [1]}, "labels": ["a"]}}
    limited = composed(tmp_path, "axes: {train.lr: [1, 2]}", "study.axes.train.lr.when.manager.name=static")["axes"]
    assert limited == {"train.lr": {"values": [1, 2], "when": {"manager.name": "static"}}}


def test_another_kind_of_axis_or_parameter_replaces_the_first_and_keeps_its_conditions(tmp_path: Path) -> None:
    searched = "space: {train.lr: {float: [1e-3, 1e-2], log: true, when: {manager.name: static}}}"
    chosen = {"choice": [1, 2], "when": {"manager.name": "static"}}
    for override in ("study.space.train.lr={choice: [1, 2]}", "study.space.train.lr.choice=[1, 2]"):
        assert composed(tmp_path, searched, override)["space"]["train.lr"] == chosen
    same = composed(tmp_path, searched, "study.space.train.lr.float=[1, 2]")["space"]["train.lr"]
    assert same == {"float": [1, 2], "log": True, "when": {"manager.name": "static"}}
    axis = "axes: {train.lr: {values: [1, 2], unless: {manager.name: static}}}"
    zipped = composed(tmp_path, axis, "study.axes.train.lr={zip: {train.lr: [1], train.batch: [8]}}")["axes"]
    assert zipped == {"train.lr": {"zip": {"train.lr": [1], "train.batch": [8]}, "unless": {"manager.name": "static"}}}
    back = composed(tmp_path, "over: {a: {zip: {train.lr: [1]}, labels: [x]}}", "study.over.a={values: [1]}")["over"]
    assert back == {"a": {"values": [1]}}
    (tmp_path / "low.yaml").write_text(searched)
    assert composed(tmp_path, "base: low\nspace: {train.lr: {choice: [1, 2]}}")["space"]["train.lr"] == chosen


def test_a_baseline_names_values_of_a_zip_by_path_over_a_label(tmp_path: Path) -> None:
    text = "axes: {depth: {zip: {model.cross_layers: [1, 2]}, labels: [A, B]}}\nbaseline: {depth: A}"
    assert composed(tmp_path, text, "study.baseline.depth.model.cross_layers=2")["baseline"] == {
        "depth": {"model.cross_layers": 2}
    }
