"""What papers say, beside the rows that it is of: found by label, axis or setting, or refused in one line."""

from pathlib import Path
from typing import Any

import pytest

from mtlab.errors import UserError
from mtlab.studies.expand import expand
from mtlab.studies.plan import Plan, make_plan, to_json
from mtlab.studies.published_entries import parse_entries, parse_overall
from mtlab.studies.spec import read_study

STUDY = """
kind: ablation
name: study
set:
  text: {name: tiny_text, layers: top2}
  vision: {name: tiny_vision, layers: top2}
  data: {name: shapes, train: 64, val: 16, test: 16}
  model: {width: 16, heads: 2, cross_layers: 1}
  train: {batch: 8, length: {steps: 4}}
axes:
  manager:
    - last
    - {name: static, label: scalar, weight: scalar}
    - {name: static, label: vector, weight: vector}
    - {name: static, label: static, noise: 0.1}
  model.cross_layers: {values: [1, 2], unless: {manager.name: last}}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    def make(published: str) -> Plan:
        (tmp_path / "study.yaml").write_text(f"{STUDY}published: {published}\n")
        return make_plan(read_study(tmp_path / "study.yaml"))

    return make


@pytest.mark.parametrize(
    ("match", "label"),
    [
        ("last", "last"),
        ("scalar · cross_layers 2", "scalar · cross_layers 2"),
        ("{manager: vector, model.cross_layers: 1}", "vector · cross_layers 1"),
        ("{manager: static, model.cross_layers: 1}", "static · cross_layers 1"),  # a label, though others have the name
        ("{manager: {name: static, weight: vector}, model.cross_layers: 1}", "vector · cross_layers 1"),
        ("{manager.name: last}", "last"),
        ("{manager.weight: scalar, model.cross_layers: 2}", "scalar · cross_layers 2"),
    ],
)
def test_a_row_is_found_by_label_axis_or_setting(tmp_path: Path, match: str, label: str) -> None:
    entry = f"{{match: {match}, test/accuracy: 78.66, also: {{test-std: 78.73}}, source: 'A et al., table 2'}}"
    (tmp_path / "study.yaml").write_text(f"{STUDY}published: [{entry}]\n")
    study = read_study(tmp_path / "study.yaml")
    rows = expand(study)
    (found,) = parse_entries(study, rows)
    assert found.label == label == rows[found.row or 0].label
    assert (found.values, found.also) == ({"test/accuracy": 78.66}, {"test-std": 78.73})


def test_a_method_that_is_no_row_and_a_result_of_the_whole(plan: Any) -> None:
    (row,) = to_json(plan("[{label: ALBEF, test/accuracy: 75.84, source: B et al., note: base size}]"))[
        "published_rows"
    ]
    assert (row["cell"], row["label"], row["note"]) == (None, "ALBEF", "base size")
    data = to_json(plan("{test/accuracy: 79, val/accuracy/colour: 0.5}"))
    assert data["published"] == {"test/accuracy": 79.0, "val/accuracy/colour": 0.5}
    assert data["published_rows"] == []


def test_what_is_published_changes_no_run_and_the_plan_says_of_which_cell_it_is(plan: Any) -> None:
    plain, told = plan("{}"), plan("[{match: last, test/accuracy: 1, source: x}]")
    assert [run.id for run in plain.runs] == [run.id for run in told.runs]
    data = to_json(told)
    (row,) = data["published_rows"]
    assert row["cell"] == next(each["cell"] for each in data["rows"] if each["label"] == "last")
    assert data["published"] == {}


@pytest.mark.parametrize(
    "override",
    [
        "study.axes.manager=[last, {name: static, label: vector, weight: vector}]",  # leaves the row out
        "study.axes.train.lr=[1e-3, 2e-3]",  # makes two rows of each
        "study.exclude=[{manager: scalar}]",
    ],
)
def test_a_row_that_the_command_line_leaves_out_or_splits_has_no_published_result(
    tmp_path: Path, override: str
) -> None:
    for match in ("scalar · cross_layers 1", "{manager: scalar, model.cross_layers: 1}"):
        entry = f"{{match: {match}, test/accuracy: 1, source: x}}"
        (tmp_path / "study.yaml").write_text(
            f"{STUDY}published: [{entry}, {{label: A, test/accuracy: 2, source: y}}]\n"
        )
        for overrides, labels in (([override], ["A"]), ([], ["scalar · cross_layers 1", "A"])):
            study = read_study(tmp_path / "study.yaml", overrides)
            assert [found.label for found in parse_entries(study, expand(study))] == labels


@pytest.mark.parametrize(
    ("published", "told"),
    [
        ("74", "published: expected metric → value, or a list of entries, found 74"),
        ("{test/accuracy: high}", "published.test/accuracy: expected a number, found 'high'"),
        (
            "{test/accuracy: 200}",
            "published.test/accuracy: 200 is out of range: a share of examples is 0 to 100 points",
        ),
        ("{test/accuracy: true}", "expected a number, found True"),
        ("[74]", "published[0]: expected {match or label, metrics, source}, found 74"),
        (
            "[{match: lsat, test/accuracy: 1, source: x}]",
            "published[0].match: no row is called 'lsat'; did you mean 'last'?",
        ),
        ("[{match: {manager.name: static}, test/accuracy: 1, source: x}]", "match: matches 6 rows: 'scalar · "),
        (
            "[{match: {manager: scaler}, test/accuracy: 1, source: x}]",
            "published[0].match: matches no row; rows: 'last', ",
        ),
        ("[{match: {manger: last}, test/accuracy: 1, source: x}]", "match.manger: neither an axis nor a setting; "),
        (
            "[{match: last, test/acc: 1, source: x}]",
            "published[0].test/acc: no metric of its task; did you mean 'test/accuracy'?",
        ),
        (
            "[{match: last, test-std: 1, source: x}]",
            "published[0].test-std: unknown key; a result that no metric of ours",
        ),
        ("[{match: last, sorce: x}]", "published[0].sorce: unknown key; did you mean 'source'?"),
        ("[{match: last, label: x, test/accuracy: 1, source: x}]", "published[0]: needs one of match"),
        ("[{test/accuracy: 1, source: x}]", "published[0]: needs one of match"),
        ("[{label: last, test/accuracy: 1, source: x}]", "published[0].label: 'last' is a row of this study"),
        ("[{match: last, source: x}]", "published[0]: has no result"),
        ("[{match: last, test/accuracy: 1}]", "published[0]: needs a source"),
        ("[{match: last, test/accuracy: .inf, source: x}]", "published[0].test/accuracy: expected a number, found inf"),
        ("[{match: last, also: 3, source: x}]", "published[0].also: expected name → value, found 3"),
        (
            "[{match: last, test/accuracy: 1, source: x}, {match: {manager: last}, test/accuracy: 2, source: x}]",
            "given twice",
        ),
    ],
)
def test_bad_entries_are_told_in_one_line(tmp_path: Path, published: str, told: str) -> None:
    (tmp_path / "study.yaml").write_text(f"{STUDY}published: {published}\n")
    study = read_study(tmp_path / "study.yaml")
    with pytest.raises(UserError) as caught:
        parse_overall(study), parse_entries(study, expand(study))
    assert told in str(caught.value)
    assert "study.yaml:" in str(caught.value)
    assert "\n" not in str(caught.value)
