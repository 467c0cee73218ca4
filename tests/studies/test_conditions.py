"""Conditions on settings that some cells lack, and labels that are longer than a line."""

from pathlib import Path

from tiny_study import write_study

from mtlab.studies.expand import expand
from mtlab.studies.spec import read_study


def labels(folder: Path, text: str) -> list[str]:
    return [row.label for row in expand(read_study(write_study(folder, text)))]


def test_null_is_the_value_of_an_option_that_is_there(tmp_path: Path) -> None:
    managers = "axes: {manager: [static, mudd, last]}\nexclude: [{manager.hidden: null}]"  # an option of `mudd` alone
    assert labels(tmp_path, managers) == ["static", "last"]
    starts = "axes: {manager: [static, last]}\nexclude: [{manager: last, init_from: null}]"
    assert labels(tmp_path, starts) == ["static"]
    when = "axes: {manager: [mudd, last], train.lr: {values: [1e-3, 1e-4], when: {manager.hidden: null}}}"
    assert labels(tmp_path, when) == ["mudd · lr 0.001", "mudd · lr 0.0001", "last"]


def test_a_label_is_one_line(tmp_path: Path) -> None:
    text = 'axes: {manager: [{name: last, label: "the\\n  last"}, mean]}'
    assert labels(tmp_path, text) == ["the last", "mean"]
