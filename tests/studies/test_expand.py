"""The ablation language: designs, conditions, baselines, and everything that a file can get wrong."""

from pathlib import Path

import pytest
from tiny_study import write_study

from mtlab.errors import UserError
from mtlab.studies.expand import StudyRow, expand
from mtlab.studies.spec import read_study


def rows(folder: Path, text: str, *overrides: str) -> tuple[StudyRow, ...]:
    return expand(read_study(write_study(folder, text), overrides))


def labels(found: tuple[StudyRow, ...]) -> list[str]:
    return [row.label for row in found]


def told(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        rows(folder, text, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_grid_is_the_product_of_its_axes(tmp_path: Path) -> None:
    found = rows(tmp_path, "axes: {manager: [last, mean], train.lr: [1e-3, 1e-4]}\nbaseline: {manager: last}")
    assert labels(found) == ["last · lr 0.001", "last · lr 0.0001", "mean · lr 0.001", "mean · lr 0.0001"]
    assert [row.compare_to for row in found] == [None, None, 0, 1]
    assert [row.baseline for row in found] == [True, True, False, False]
    assert [row.config["train"]["lr"] for row in found] == [1e-3, 1e-4, 1e-3, 1e-4]


def test_node_axes_replace_the_node_and_dotted_axes_come_on_top(tmp_path: Path) -> None:
    text = """
axes:
  manager.temperature: {values: [1.0, 2.0], when: {manager.name: static}}
  manager: [bridge, {name: static, label: static-scalar, weight: scalar}]
"""
    found = rows(tmp_path, text)
    assert labels(found) == [
        "bridge",
        "static-scalar · manager.temperature 1",
        "static-scalar · manager.temperature 2",
    ]
    assert found[2].config["manager"] | {"frozen": False} == found[2].config["manager"]
    assert (found[2].config["manager"]["weight"], found[2].config["manager"]["temperature"]) == ("scalar", 2.0)


def test_a_row_that_lacks_an_axis_is_compared_at_its_first_value(tmp_path: Path) -> None:
    text = """
axes:
  manager: [last, bridge, static]
  vision.layers: {values: [top3, all], unless: {manager.name: last}}
baseline: {manager: bridge}
"""
    found = rows(tmp_path, text)
    assert labels(found) == [
        "last",
        "bridge · vision.layers top3",
        "bridge · vision.layers all",
        "static · vision.layers top3",
        "static · vision.layers all",
    ]
    assert [row.compare_to for row in found] == [1, None, None, 1, 2]
    assert found[0].note == "has no vision.layers: compared at top3"


def test_each_value_of_an_axis_may_have_a_baseline_of_its_own(tmp_path: Path) -> None:
    settings = "{zip: {manager: [bridge, static, bridge, static], train.lr: [1, 2, 3, 4]}, labels: [a, b, c, d]}"
    found = rows(tmp_path, f"axes: {{tuned: {settings}}}\nbaseline: {{tuned: [a, a, c, c]}}")
    assert [row.compare_to for row in found] == [None, 0, None, 2]
    assert [row.baseline for row in found] == [True, False, True, False]
    found = rows(tmp_path, "axes: {vision.layers: [[1, 3], all]}\nbaseline: {vision.layers: [1, 3]}")
    assert [row.compare_to for row in found] == [None, 0]  # a list that is a value


def test_a_zip_may_name_its_values(tmp_path: Path) -> None:
    zipped = "{zip: {manager: [last, {name: static}], model.cross_layers: [1, 2]}, labels: [METER, ours]}"
    found = rows(tmp_path, f"axes: {{system: {zipped}}}\nbaseline: {{system: METER}}")
    assert [row.label for row in found] == ["METER", "ours"]
    assert [row.config["manager"]["name"] for row in found] == ["last", "static"]
    with pytest.raises(UserError, match=r"axes.s.labels: expected a list of 2 names"):
        rows(tmp_path, "axes: {s: {zip: {train.lr: [1e-3, 1e-4]}, labels: [one]}}")
    with pytest.raises(UserError, match=r"axes.train.lr.labels: belongs to a zip"):
        rows(tmp_path, "axes: {train.lr: {values: [1e-3, 1e-4], labels: [one, two]}}")


def test_zip_moves_settings_together(tmp_path: Path) -> None:
    found = rows(tmp_path, "axes: {depth: {zip: {model.cross_layers: [1, 2], train.lr: [2e-4, 1e-4]}}}")
    assert labels(found) == ["depth cross_layers 1, lr 0.0002", "depth cross_layers 2, lr 0.0001"]
    assert [(row.config["model"]["cross_layers"], row.config["train"]["lr"]) for row in found] == [(1, 2e-4), (2, 1e-4)]


def test_nodes_that_move_with_other_settings_leave_what_stands_on_top(tmp_path: Path) -> None:
    text = """
axes:
  manager.temperature: [1, 2]
  system: {zip: {manager.weight: [scalar, vector], manager: [static, adaptive]}, labels: [A, B]}
"""
    found = rows(tmp_path, text)
    managers = [row.config["manager"] for row in found]
    assert labels(found)[:2] == ["manager.temperature 1 · A", "manager.temperature 1 · B"]
    assert [each["temperature"] for each in managers] == [1, 1, 2, 2]
    assert [(each["name"], each["weight"]) for each in managers[:2]] == [("static", "scalar"), ("adaptive", "vector")]


def test_exclude_removes_cells(tmp_path: Path) -> None:
    text = """
axes: {manager: [last, static], model.cross_layers: [1, 2]}
exclude: [{manager.name: static, model.cross_layers: 2}]
"""
    assert labels(rows(tmp_path, text)) == ["last · cross_layers 1", "last · cross_layers 2", "static · cross_layers 1"]


def test_what_is_excluded_need_not_work(tmp_path: Path) -> None:
    """A bridge with a level for each layer fits one number of layers: the others are why there is a rule."""
    text = """
axes:
  manager: [static, {name: bridge, experts: [1], label: one}, {name: bridge, experts: [1, 2], label: two}]
  model.cross_layers: [1, 2]
"""
    with pytest.raises(UserError, match="names 1 experts for 2 cross-modal layers"):
        rows(tmp_path, text)
    rules = "exclude: [{manager: one, model.cross_layers: 2}, {manager: two, model.cross_layers: 1}]"
    assert labels(rows(tmp_path, text + rules)) == [
        "static · cross_layers 1",
        "static · cross_layers 2",
        "one · cross_layers 1",
        "two · cross_layers 2",
    ]


def test_overrides_may_leave_nothing_to_conditions_and_exclusions(tmp_path: Path) -> None:
    text = """
axes:
  manager: [last, static]
  manager.weight: {values: [scalar, vector], when: {manager.name: static}}
exclude: [{manager.name: static, manager.weight: vector}]
"""
    assert labels(rows(tmp_path, text)) == ["last", "static · manager.weight scalar"]
    assert labels(rows(tmp_path, text, "study.axes={manager: [last]}")) == ["last"]
    (tmp_path / "mine.yaml").write_text("base: study\nname: mine\naxes: {manager: [last]}\nexclude: []\n")
    assert labels(expand(read_study(tmp_path / "mine.yaml"))) == ["last"]


def test_an_override_of_something_else_hides_no_mistake(tmp_path: Path) -> None:
    text = "axes: {manager: [last, mean], train.lr: {values: [1, 2], unless: {manager.name: men}}}"
    assert told(tmp_path, text, "train.batch=4") == told(tmp_path, text)
    text = "axes: {manager: [last]}\nexclude: [{manager.name: statc}]"
    assert told(tmp_path, text, "train.lr=1e-3", "study.seeds=2") == told(tmp_path, text)


def test_exclude_names_values_by_their_labels_too(tmp_path: Path) -> None:
    text = """
axes:
  manager: [last, {name: static, label: ours}, {name: static, weight: scalar, label: low}]
  size: {zip: {model.cross_layers: [1, 2], model.mlp_ratio: [2, 1]}, labels: [wide, deep]}
"""
    assert labels(rows(tmp_path, text + "exclude: [{manager: ours}]")) == [
        "last · wide", "last · deep", "low · wide", "low · deep",
    ]  # fmt: skip
    both = "exclude: [{manager: [ours, low], size: deep}]"
    assert labels(rows(tmp_path, text + both)) == ["last · wide", "last · deep", "ours · wide", "low · wide"]
    assert labels(rows(tmp_path, text + "exclude: [{manager: static}]")) == ["last · wide", "last · deep"]
    values = "[bridge, {name: bridge, experts: [1, 2], label: upper}, last]"  # a label names its own value alone
    assert labels(rows(tmp_path, f"axes: {{manager: {values}}}\nexclude: [{{manager: bridge}}]")) == ["upper", "last"]


def test_a_cell_without_an_axis_is_excluded_by_its_setting(tmp_path: Path) -> None:
    shared = "set: {train.lr: 1e-3}\naxes: {manager: [last, bridge, static], train.lr: "
    grid = shared + "{values: [1e-3, 1e-2], when: {manager: static}}}\nexclude: [{train.lr: 1e-3, manager: last}]"
    assert labels(rows(tmp_path, grid)) == ["bridge", "static · lr 0.001", "static · lr 0.01"]
    one = shared + "[1e-3, 1e-2]}\nbaseline: {manager: bridge}\nexclude: [{manager: static, train.lr: 1e-3}]"
    assert labels(rows(tmp_path, f"design: one_at_a_time\n{one}")) == ["bridge", "last", "bridge · lr 0.01"]


def test_lists_among_alternatives_are_values_of_the_setting(tmp_path: Path) -> None:
    text = "axes: {text.layers: [all, [1, 3], [2, 3]], model.cross_layers: {values: [2, 1], WORD: {text.layers: LIST}}}"

    def found(word: str, alternatives: str) -> list[str]:
        return labels(rows(tmp_path, text.replace("WORD", word).replace("LIST", alternatives)))

    both = ["text.layers all · cross_layers 2", "text.layers all · cross_layers 1"]
    several = [each.replace("all", "[1, 3]") for each in both]
    assert found("when", "[all, [1, 3]]") == [*both, *several, "text.layers [2, 3]"]
    assert found("unless", "[[1, 3], [2, 3]]") == [*both, "text.layers [1, 3]", "text.layers [2, 3]"]
    assert found("when", "[1, 3]") == ["text.layers all", *several, "text.layers [2, 3]"]
    excluded = "axes: {text.layers: [all, [1, 3], [2, 3]]}\nexclude: [{text.layers: [all, [1, 3]]}]"
    assert labels(rows(tmp_path, excluded)) == ["text.layers [2, 3]"]
    wrong = "axes: {text.layers: [all, [1, 3]]}\nexclude: [{text.layers: [1, 2]}]"
    assert "[1, 2] matches no value of axis 'text.layers'" in told(tmp_path, wrong)


def test_values_are_named_by_numbers_and_mappings_as_they_are_written(tmp_path: Path) -> None:
    sizes = "axes: {size: {zip: {model.width: [16, 32]}, labels: [1, 2]}, manager: [last, static]}\n"
    assert labels(rows(tmp_path, f"{sizes}exclude: [{{size: 1}}]")) == ["last · 2", "static · 2"]
    assert [row.compare_to for row in rows(tmp_path, f"{sizes}baseline: {{size: 1}}")] == [None, 0, None, 2]
    assert labels(rows(tmp_path, f"{sizes}exclude: [{{size: {{model.width: 16}}}}]")) == ["last · 2", "static · 2"]
    lengths = "axes: {train.length: [{steps: 8}, {steps: 16}]}\nexclude: [{train.length: {steps: 8}}]"
    assert labels(rows(tmp_path, lengths)) == ["length steps 16"]
    assert "expected a name under `label`, found True" in told(
        tmp_path, "axes: {size: {zip: {model.width: [16]}, labels: [true]}}"
    )


def test_rows_that_would_be_called_alike_name_their_axes(tmp_path: Path) -> None:
    towers = "design: leave_one_out\naxes: {text: [blind], vision: [blind], manager: [last]}\nset: {manager: static}"
    assert labels(rows(tmp_path, towers)) == ["base", "text blind", "vision blind", "last"]


def test_one_at_a_time_starts_from_set_and_baseline(tmp_path: Path) -> None:
    text = """
design: one_at_a_time
baseline: {manager: bridge}
axes: {manager: [last, bridge, static], model.cross_layers: [1, 3]}
"""
    found = rows(tmp_path, text)
    assert labels(found) == ["bridge", "last", "static", "bridge · cross_layers 1", "bridge · cross_layers 3"]
    assert [row.config["model"]["cross_layers"] for row in found] == [2, 2, 2, 1, 3]
    assert [row.compare_to for row in found] == [None, 0, 0, 0, 0]


def test_a_changed_cell_has_the_axes_that_fit_it(tmp_path: Path) -> None:
    text = """
design: one_at_a_time
baseline: {manager: static, manager.temperature: 2, vision.layers: top2}
axes:
  manager: [static, last]
  manager.temperature: {values: [1, 2], when: {manager.name: static}}
  vision.layers: {values: [top2, all], unless: {manager.name: last}}
"""
    found = rows(tmp_path, text)
    assert labels(found) == [
        "static · manager.temperature 2 · vision.layers top2",
        "last",
        "static · manager.temperature 1 · vision.layers top2",
        "static · manager.temperature 2 · vision.layers all",
    ]
    assert found[1].config["vision"]["layers"] == "all"  # as `set` says


def test_leave_one_out_starts_from_the_full_system(tmp_path: Path) -> None:
    text = """
design: leave_one_out
set: {manager: adaptive}
axes: {manager: [mean], model.layer_embeddings: [false]}
"""
    found = rows(tmp_path, text)
    assert labels(found) == ["base", "mean", "layer_embeddings no"]
    assert [row.config["manager"]["name"] for row in found] == ["adaptive", "mean", "adaptive"]
    assert [row.baseline for row in found] == [True, False, False]
    kept = told(tmp_path, "design: leave_one_out\naxes: {train.clip: [1.0], model.layer_embeddings: [false]}")
    assert "axes.train.clip: removes nothing: the full system has this value" in kept
    assert labels(rows(tmp_path, text, "model.layer_embeddings=false")) == ["base", "mean"]  # as it is asked for


def test_the_command_line_reaches_settings_and_study_keys(tmp_path: Path) -> None:
    found = rows(tmp_path, "axes: {manager: [last, mean]}", "train.lr=5e-4", "study.baseline={manager: mean}")
    assert {row.config["train"]["lr"] for row in found} == {5e-4}
    assert [row.compare_to for row in found] == [1, None]
    text = "axes: {manager: {values: [last, mean]}, train.lr: [1e-3, 1e-2]}\nbaseline: {train.lr: 1e-3}"
    changes = ("study.axes.train.lr=[1e-4, 2e-3]", "study.baseline.train.lr=2e-3", "study.axes.manager.values=[last]")
    assert labels(rows(tmp_path, text, *changes)) == ["last · lr 0.0001", "last · lr 0.002"]
    text = "axes: {manager: [last, mean], train.lr: {values: [1, 2], unless: {manager.name: last}}}"
    changed = "study.axes.train.lr.unless.manager.name=mean"
    assert labels(rows(tmp_path, text, changed)) == ["last · lr 1", "last · lr 2", "mean"]
    text = "axes: {size: {zip: {train.lr: [1, 2], train.batch: [8, 4]}}}"
    assert labels(rows(tmp_path, text, "study.axes.size.zip.train.lr=[3, 4]"))[0] == "size lr 3, batch 8"


def test_values_that_set_says_already_are_one_cell(tmp_path: Path) -> None:
    text = "design: one_at_a_time\nbaseline: {manager: last}\naxes: {manager: [last], model.cross_layers: [2, 3]}"
    assert labels(rows(tmp_path, text)) == ["last", "last · cross_layers 3"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("axes: {manager: [adptive]}", "axes.manager: adptive: unknown manager 'adptive'; did you mean 'adaptive'?"),
        ("axes: {seed: [0, 1]}", "axes.seed: seeds are given by `seeds:`, for all variants alike"),
        ("axes: {manger: [last]}", "axes.manger: no setting is called 'manger'; did you mean 'manager'?"),
        ("axes: {train.lrr: [1]}", "axes.train.lrr: no setting is called 'train.lrr'; did you mean 'train.lr'?"),
        ("axes: {manager: []}", "axes.manager: has no values"),
        ("axes: {manager: last}", "axes.manager: expected a list of values"),
        ("axes: [manager]", "axes: expected a mapping"),
        ("axes: {manager: [last, last]}", "axes.manager[1]: value 'last' is repeated"),
        ("axes: {train.lr: [.inf, .nan]}", "axes.train.lr: inf: inf is not a finite number"),
        ("axes: {manager: [last, {name: static, label: null}]}", "axes.manager: expected a name under `label`, found"),
        ("axes: {a: {zip: {train.lr: [1, 2]}, labels: [b, '']}}", "axes.a: expected a name under `label`, found ''"),
        (
            "axes: {manager: [last, static], manager.weight: {values: [scalar], when: {manager.name: statc}}}",
            "axes.manager.weight.when.manager.name: no cell has 'statc'",
        ),
        ("axes: {manager: [last], train.lr: {values: [1], unless: {manager.name: last}}}", "lr.unless: leaves out all"),
        (
            (
                "design: one_at_a_time\nbaseline: {manager: last}\n"
                "axes: {manager: [last, static], manager.weight: {values: [scalar], when: {manager.name: static}}}"
            ),
            "axes.manager.weight.when: leaves out the cell that all others start from",
        ),
        (
            "axes: {manager: [last, mean], train.lr: {values: [1, 2], unless: {manager.name: men}}}",
            "axes.train.lr.unless.manager.name: no cell has 'men'",
        ),
        (
            "axes: {manager: [last, static], manager.weight: {values: [scalar], when: {manager.name: [static, men]}}}",
            "axes.manager.weight.when.manager.name: no cell has 'men'",
        ),
        ("axes: {manager: [last]}\nexclude: [{manager.name: statc}]", "exclude[0].manager.name: no cell has 'statc'"),
        ("axes: {train.lr: [1e-3, x]}", "axes.train.lr: x: expected a number, found 'x'"),
        ("axes: {train.lr: [0]}", "out of range: must be above 0"),
        (
            "axes: {manager: [bridge, static], manager.temperature: [1, 2]}",
            "axes.manager.temperature: 1: manager 'bridge' has no such option; known: experts (limit the axis",
        ),
        (
            "axes: {d: {zip: {train.lr: [1, 2], train.batch: [8]}}}",
            "lists of unequal length: train.lr has 2, train.batch has 1",
        ),
        ("axes: {train.lr: {values: [1], zip: {a: [1]}}}", "axes.train.lr: needs one of values, zip"),
        ("axes: {train.lr: {values: [1], wen: {a: 1}}}", "axes.train.lr.wen: unknown key; did you mean 'when'?"),
        ("axes: {train.lr: {values: [1], when: {manager.nam: last}}}", "did you mean 'manager.name'?"),
        ("axes: {a: {zip: {train.lr: [1]}}, train.lr: [2]}", "axes.train.lr: axis 'a' sets train.lr too"),
        ("axes: {train.lr: [1], train: [{lr: 2}, {batch: 3}]}", "axes.train: axis 'train.lr' sets train.lr too"),
        ("axes: {train.lr: {values: [1], when: {train.batch: 8}}, train.batch: [8]}", "depends on axis 'train.batch'"),
        ("axes: {manager: [last]}\nexclude: [{manager.nme: last}]", "exclude[0].manager.nme: no setting is called"),
        ("axes: {manager: [last]}\nexclude: [{manager.name: last}]", "exclude: leaves no cell"),
        (
            (
                "design: one_at_a_time\nbaseline: {manager: last}\n"
                "axes: {manager: [last, mean], model.cross_layers: [3]}\nexclude: [{manager: last}]"
            ),
            "exclude: leaves out the cell that all others start from",
        ),
        (
            "axes: {manager: [last, {name: mean, label: m}]}\nexclude: [{manager: [m, statc]}]",
            "exclude[0].manager: 'statc' matches no value of axis 'manager'; its values: last, m",
        ),
        ("axes: {manager: [last]}\nbaseline: {manager: mean}", "baseline.manager: matches no value of axis 'manager'"),
        (
            "axes: {manager: [last, mean]}\nbaseline: {manager: [last, men]}",
            "baseline.manager[1]: matches no value of axis 'manager'; its values: last, mean",
        ),
        (
            "axes: {manager: [last, mean, bridge]}\nbaseline: {manager: [last, last, mean]}",
            "baseline: matches no cell to compare 'bridge' with",
        ),
        ("axes: {manager: [last]}\nbaseline: {mngr: last}", "baseline.mngr: 'mngr' is no axis of this study"),
        (
            "axes: {manager: [{name: static, weight: scalar}, {name: static, noise: 1}]}\nbaseline: {manager: static}",
            "baseline.manager: matches 2 values of axis 'manager'",
        ),
        (
            (
                "axes: {manager: [last, mean], model.cross_layers: [1, 2]}\nbaseline: {manager: last}\n"
                "exclude: [{manager.name: last, model.cross_layers: 1}]"
            ),
            "baseline: matches no cell to compare 'mean · cross_layers 1' with",
        ),
        ("set: {manager: last}\naxes: {manager: [mean]}", "set.manager: would be wiped by axis 'manager'"),
        ("set: {train: {lr: 1}}\naxes: {train.lr: [2]}", "set.train.lr: would be wiped by axis 'train.lr'"),
        (
            "set: {train: {length: {epochs: 2}}}\naxes: {train.length.steps: [4, 8]}",
            "set.train.length: would be wiped by axis 'train.length.steps'",
        ),
        ("init_from: {study: a}\naxes: {init_from: [null]}", "init_from: would be wiped by axis 'init_from'"),
        ("set: {model: {heads: 3}}", "set.model.heads: 3 heads do not divide the width 16"),
        ("set: {vision: {layers: top9}}", "set.vision.layers: "),
        ("set: {vision: {layers: [1, 9]}}", "set.vision.layers: "),
        ("set: {trian: {lr: 1}}", "set.trian: unknown key; did you mean 'train'?"),
        ("set: {data: {name: shape}}", "unknown dataset 'shape'; did you mean 'shapes'?"),
        ("set: {text: {name: tiny_tex}}", "unknown text tower 'tiny_tex'; did you mean 'tiny_text'?"),
        ("set: {task: {name: question_answring}}", "did you mean 'question_answering'?"),
        ("set: {train: {batch: 999}}", "set.train.batch: 999 is more than the 64 training examples"),
        ("set: {train: {micro_batch: 3}}", "set.train.micro_batch: 3 does not divide the batch 8"),
        ("metrics: {choose: val/acuracy}", "metrics.choose: task 'question_answering' has no metric 'val/acuracy'"),
        ("metrics: {choose: test/accuracy}", "only validation data (val/…) may"),
        ("seeds: [0, 1, 0]", "seeds[2]: seed 0 is repeated"),
        ("seeds: 0", "seeds: 0 seeds"),
        ("seeds: [9223372036854775808]", "seeds[0]: 9223372036854775808 is no seed: whole numbers from 0 to 2^63 - 1"),
        ("seeds: [a]", "seeds[0]: 'a' is no seed"),
        ("design: gird", "design: 'gird' is not one of"),
        ("resources:", "resources: expected a mapping, found nothing: leave the key out"),
        ("desing: grid", "desing: unknown key; did you mean 'design'?"),
        ("design: leave_one_out\nbaseline: {manager: last}", "leave_one_out compares with the full system"),
        ("design: one_at_a_time", "design: one_at_a_time varies one axis from `baseline`"),
        ("budget: {max_run: 1}", "budget.max_run: unknown key; did you mean 'max_runs'?"),
    ],
)
def test_bad_studies_are_told_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    line = told(tmp_path, text)
    assert expected in line
    assert line.startswith((str(tmp_path / "study.yaml"), str(tmp_path / "tiny.yaml")))
