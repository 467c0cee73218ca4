"""Cells and their ids, parents before children, lengths in steps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_study import write_study

from mtlab.cli.study.plan import print_plan
from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS
from mtlab.resolution.identity import clear_digests
from mtlab.resolution.training_code import ENGINE_VERSION
from mtlab.runs.store import Store
from mtlab.studies import cell_cost
from mtlab.studies.plan import Plan, make_plan, run_configs, to_json
from mtlab.studies.plan_status import plan_status
from mtlab.studies.spec import read_study

TWO = "axes: {manager: [last, bridge]}\n"


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    def make(text: str, *overrides: str, name: str = "study") -> Plan:
        return make_plan(read_study(write_study(tmp_path, text, name), overrides))

    return make


def ids(plan: Plan) -> list[str]:
    return [cell.id for cell in plan.cells]


def test_ids_depend_on_what_counts_alone(plan: Any) -> None:
    base = ids(plan("axes: {manager: [bridge, static]}"))
    assert len(set(base)) == 2
    for same in ("train.threads=2", "train.micro_batch=4", "train.device=cpu", "record.layers=false", "study.why=x"):
        assert ids(plan("axes: {manager: [bridge, static]}", same)) == base
    assert ids(plan("axes: {manager: [{name: bridge, label: B}, static]}\nseeds: 5")) == base
    for other in ("train.lr=2e-3", "cache.dtype=float32", "train.precision=bf16", "text.seed=1", "train.batch=16"):
        assert not set(ids(plan("axes: {manager: [bridge, static]}", other))) & set(base)


def test_an_added_value_adds_its_cells_alone(plan: Any) -> None:
    before = {run.id for run in plan("axes: {manager: [last, bridge]}\nseeds: 2").runs}
    after = {run.id for run in plan("axes: {manager: [last, bridge, static]}\nseeds: 3").runs}
    assert before < after
    assert len(after - before) == 5


def test_an_added_option_or_a_changed_default_is_another_cell(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from mtlab.config.options import option
    from mtlab.managers.base import MANAGERS

    old = ids(plan("axes: {manager: [static]}"))
    entry = MANAGERS.get("static")
    schema = entry.config
    for name, field in (("sharpness", option(1.0, "added later")), ("temperature", option(0.5, "another default"))):
        changed = dataclasses.make_dataclass(
            "Config", [(name, float, field)], bases=(schema,), frozen=True, kw_only=True
        )
        monkeypatch.setattr(entry.cls, "Config", changed)
        assert ids(plan("axes: {manager: [static]}")) != old


def test_versions_and_the_engine_are_part_of_ids(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    from mtlab.managers.base import MANAGERS

    old = ids(plan("axes: {manager: [static]}"))
    entry = MANAGERS.get("static")
    monkeypatch.setitem(MANAGERS.entries, "static", dataclasses.replace(entry, version=entry.version + 1))
    assert ids(plan("axes: {manager: [static]}")) != old
    monkeypatch.undo()
    monkeypatch.setattr("mtlab.resolution.identity.ENGINE_VERSION", ENGINE_VERSION + 1)
    assert ids(plan("axes: {manager: [static]}")) != old


def test_parts_of_epochs_are_counted_without_errors_of_rounding(plan: Any) -> None:
    made = plan("axes: {manager: [last]}", "data.train=100", "train.batch=2", "train.length={epochs: 2.2}")
    assert [cell.steps for cell in made.cells] == [110]  # 2.2 × 50 is above it in floats


def test_flops_and_epochs_become_steps(plan: Any) -> None:
    fixed = plan("axes: {manager: [last, adaptive]}", "train.length={epochs: 2}")
    assert [cell.steps for cell in fixed.cells] == [16, 16]
    cheap, dear = plan("axes: {manager: [last, adaptive]}", "train.length={flops: 1e10}").cells
    assert cheap.steps > dear.steps > 1
    for cell in (cheap, dear):
        spent = cell.steps * cell.config["train"]["batch"] * cell.cost.flops_training
        assert spent == pytest.approx(1e10, rel=0.5 / cell.steps)


def test_parents_come_first_and_name_their_seed(plan: Any) -> None:
    plan("axes: {manager: [bridge, static]}", name="parent")
    child = plan(
        "set: {train: {lr: 1e-4}}\naxes: {manager: [bridge, static]}\ninit_from: {study: parent}\nseeds: [0, 3]"
    )
    data = to_json(child)
    assert [run["study"] for run in data["runs"]] == ["parent", "study"] * 4
    for parent, run in zip(data["runs"][::2], data["runs"][1::2], strict=True):
        assert run["parents"] == [parent["id"]]
        assert (parent["seed"], parent["axes"]) == (run["seed"], run["axes"])
    config = run_configs(child)[data["runs"][-1]["id"]]
    assert config["config"]["init_from"] == {"cell": data["runs"][-2]["cell"], "seed": 3}
    assert config["parents"] == [{"cell": data["runs"][-2]["cell"], "seed": 3}]


def test_a_childs_id_includes_its_parent_cell(plan: Any) -> None:
    plan("axes: {manager: [bridge]}", name="parent")
    text = "axes: {manager: [bridge]}\ninit_from: {study: parent}"
    first = ids(plan(text))
    plan("set: {train: {lr: 7e-4}}\naxes: {manager: [bridge]}", name="parent")
    assert ids(plan(text)) != first
    assert ids(plan("axes: {manager: [bridge]}")) != first


def test_a_plan_says_whose_managers_start_anew_as_their_levels_are_others(plan: Any) -> None:
    plan("set: {vision: {layers: top2}}\naxes: {manager: [static]}", name="parent")
    start = "init_from: {study: parent, match: {manager: static}}"
    found = plan(f"axes: {{manager: [static], vision.layers: [top2, [1, 3]]}}\n{start}")
    alike, other = (cell.config["init_from"] for cell in found.cells)
    assert "new_managers" not in alike
    assert other["new_managers"] == ["image"]
    (config,) = [
        each["config"] for each in run_configs(found).values() if "new_managers" in (each["config"]["init_from"] or {})
    ]
    assert config["init_from"] == {**other, "seed": 0}
    told = "managers of image start anew, as their levels are not those of what it starts from"
    assert sum(told in remark for remark in to_json(found)["remarks"]) == 1


def test_a_child_may_vary_what_lies_within_a_node_of_its_parent(plan: Any) -> None:
    vision = "{name: tiny_vision, layers: top3, depth: 3, width: 16}"
    plan(f"axes: {{manager: [bridge, static], vision: [{vision}]}}", name="parent")
    axes = "axes: {manager: [bridge, static], vision.trainable: [false, true]}"
    found = plan(f"set: {{vision: {vision}}}\n{axes}\ninit_from: {{study: parent}}")
    parents = [cell.parent.row.config["manager"]["name"] for cell in found.cells if cell.parent is not None]
    assert parents == ["bridge", "bridge", "static", "static"]
    both = f"vision: [{vision}, {vision.replace('top3', 'top2')}]"
    plan(f"axes: {{{both}}}", name="parent")
    axes, start = "vision.trainable: [false, true]", "init_from: {study: parent}"

    def starts(study: str) -> list[str]:
        cells = plan(f"{study}\n{start}").cells
        return [cell.parent.row.config["vision"]["layers"] for cell in cells if cell.parent is not None]

    assert starts(f"axes: {{{both}, {axes}}}") == ["top3", "top3", "top2", "top2"]
    assert starts(f"set: {{vision: {{layers: top2}}}}\naxes: {{{axes}}}") == ["top2", "top2"]
    two = f"axes: {{vision.layers: [top3, top2], {axes}}}"
    assert starts(two) == ["top3", "top3", "top2", "top2"]
    trained = vision.replace("16}", "16, trainable: true}")
    plan(f"axes: {{vision: [{trained}, {vision.replace('top3', 'top2')}]}}", name="parent")
    assert starts(f"set: {{vision: {{layers: top2}}}}\naxes: {{{axes}}}") == ["top2", "top2"]
    plan(f"axes: {{vision: [{vision}]}}", name="parent")  # the rest of the node is another one
    assert starts(f"set: {{vision: {{layers: top2}}}}\naxes: {{{axes}}}") == ["top3", "top3"]


def test_a_row_that_another_starts_from_is_of_this_study(plan: Any) -> None:
    plan("axes: {manager: [bridge]}", name="parent")
    found = plan("axes: {init_from: [{study: parent, label: pretrained}, null]}\nset: {manager: bridge}")
    assert {run.cell.study for run in found.runs} == {"study"}  # which `mtlab budget` reads
    data = to_json(found)
    runs = [(run["label"], run["study"], run["axes"]) for run in data["runs"]]
    assert runs[0] == ("init_from none", "study", {"init_from": None})
    assert [label for label, *_ in runs] == [row["label"] for row in reversed(data["rows"])]


def test_with_and_without_a_parent_is_an_axis(plan: Any) -> None:
    plan("axes: {manager: [bridge, static]}", name="parent")
    found = plan("axes: {manager: [bridge, static], init_from: [null, {study: parent, label: pretrained}]}")
    assert [cell.row.label for cell in found.cells] == [
        "bridge · init_from none",
        "bridge · init_from pretrained",
        "static · init_from none",
        "static · init_from pretrained",
    ]
    assert [cell.parent is not None for cell in found.cells] == [False, True, False, True]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("init_from: {study: nowhere}", "init_from.study: no study file 'nowhere.yaml'"),
        ("init_from: nothing.safetensors", "init_from: no checkpoint file"),
        ("init_from: {study: parent, seeds: 1}", "init_from.seeds: unknown key; did you mean 'seed'?"),
        (
            "init_from: {checkpoint: a.pt, sed: 3}",
            "init_from.sed: unknown key; beside a checkpoint there is nothing to c",
        ),
        ("init_from: {study: parent, seed: x}", "init_from.seed: expected same or a seed"),
        ("init_from: {study: study}", "start from each other in a circle"),
        ("init_from: {study: parent}\naxes: {manager: [adaptive]}", "init_from: no cell of parent.yaml match"),
        ("init_from: {study: parent, match: {model.width: 16}}", "2 cells of parent.yaml match"),
        ("init_from: {study: tuned}\naxes: {manager: [bridge]}", "'bridge' freezes the text tower that its parent"),
        ("budget: {max_runs: 1}\nseeds: 2", "budget.max_runs: 2 runs (1 cells × 2 seeds) exceed the budget of 1"),
        (
            "seeds: 10001",
            "budget.max_runs: 10001 runs (1 cells × 10001 seeds) exceed the budget of 10000: ask for fewer",
        ),
        ("seeds: 1000000000", "seeds: 1000000000 seeds: at most 100000 can be asked for"),
        ("seeds: {until: decided, max: 1000000000}", "seeds.max"),
        (
            "init_from: {study: odd, match: {manager: bridge}}\nresources: {processes: 2}",
            "resources.processes: 2 processes cannot share 5 evenly; they can share 4 or 6 (bridge), from which",
        ),
        ("metrics: {verdict: test/acc}", "metrics.verdict: no task of this study has a metric 'test/acc'"),
        ("metrics: {verdict: test/accuracy/color}", "metrics.verdict: test has no family 'color'; did you mean"),
        (
            "metrics: {verdict: test/primary/colour}",
            "metrics.verdict: primary has no families: name the metric that is meant, such as test/accuracy/colour",
        ),
        ("metrics: {choose: val/accuracy/color}", "metrics.choose: val has no family 'color'; did you mean"),
        ("metrics: {report: [val/loss/colour]}", "metrics.report[0]: no task of this study has a metric 'val/loss/co"),
        ("metrics: {report: [cost/parms]}", "metrics.report[0]: no task of this study has a metric 'cost/parms'"),
        ("published: {test/acc: 3.0}", "published: no task of this study has a metric 'test/acc'"),
        ("axes: {vision.layers: [[1, 2], [2, 1]]}", "are the same cell: they differ in nothing that counts"),
        ("axes: {text.layers: [[1, 3], [1, -1]]}", "are the same cell: they differ in nothing that counts"),
        ("axes: {vision.layers: [top2, [-2, -1]]}", "are the same cell: they differ in nothing that counts"),
        ("axes: {train.threads: [1, 2]}", "are the same cell: they differ in nothing that counts"),
        (
            "axes: {manager: [{name: static, label: A}, {name: static, frozen: false, label: B}]}",
            "'A' and 'B' are the same cell: they differ in nothing that counts",
        ),
    ],
)
def test_bad_plans_are_told_in_one_line(plan: Any, text: str, told: str) -> None:
    plan("axes: {manager: [bridge, static]}", name="parent")
    plan("axes: {manager: [bridge]}\nset: {text: {trainable: true}}", name="tuned")
    plan("axes: {manager: [bridge]}\nset: {train: {batch: 5}}", name="odd")
    with pytest.raises(UserError) as caught:
        plan(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_weights_elsewhere_are_the_same_run(plan: Any, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    weights = timm.create_model("test_vit").state_dict()
    other = {name: tensor + 1 for name, tensor in weights.items()}
    for name, tensors in (("here", weights), ("there", weights), ("else", other)):
        save_file(tensors, tmp_path / f"{name}.safetensors")

    def cell(name: str) -> str:
        file = tmp_path / f"{name}.safetensors"
        return ids(plan(f"set: {{vision: {{name: timm, model: test_vit, image_size: 160, weights: {file}}}}}"))[0]

    assert cell("here") == cell("there")
    assert cell("here") != cell("else")


def test_weights_that_are_not_there_are_named(plan: Any) -> None:
    found = plan("set: {vision: {name: timm, model: test_vit, image_size: 160}}")
    assert found.unresolved == ("test_vit",)
    assert to_json(found)["rows"][0]["unresolved"] == ["test_vit"]


def test_costs_know_how_many_answers_the_head_has(plan: Any) -> None:
    towers = "text: {name: planted, layers: all}, vision: {name: planted, layers: all}"
    sizes = [
        plan(f"set: {{{towers}, data: {{name: planted, classes: {classes}}}}}").cells[0].cost.params["head"]
        for classes in (4, 8)
    ]
    assert sizes[0] < sizes[1]


def test_costs_are_counted_once_per_architecture(plan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, count = [], cell_cost._count
    monkeypatch.setenv("MTLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cell_cost, "_count", lambda config: counted.append(config) or count(config))
    for _ in range(2):  # as two processes
        monkeypatch.setattr(cell_cost, "_known", {})
        found = plan("axes: {manager: [last, bridge], train.lr: [1e-3, 1e-4]}\nseeds: 2")
        assert len(counted) == 2
    assert found.cells[0].cost == found.cells[1].cost != found.cells[2].cost
    last = MANAGERS.get("last")
    monkeypatch.setitem(MANAGERS.entries, "last", replace(last, source="edited"))  # a plug-in's file
    plan("axes: {manager: [last, bridge], train.lr: [1e-3, 1e-4]}\nseeds: 2")
    assert len(counted) == 3


def test_costs_follow_what_a_folder_of_a_model_holds(plan: Any, tmp_path: Path) -> None:
    from transformers import BertConfig

    def cost(layers: int) -> int:
        size = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 100}
        BertConfig(num_hidden_layers=layers, **size).save_pretrained(tmp_path / "words")
        clear_digests()
        text = f"{{name: transformers, model: {tmp_path / 'words'}, weights: random}}"
        found: int = (
            plan(f"set: {{text: {text}, data: {{name: planted}}, vision: planted}}").cells[0].cost.params["text tower"]
        )
        return found

    assert cost(2) < cost(4)


def test_variants_that_have_no_family_in_common_are_not_compared(plan: Any) -> None:
    text = "axes: {data.families: [[comparison], [comparison, count]]}\nbaseline: {data.families: [comparison]}\n"
    with pytest.raises(UserError, match=r"metrics\.verdict: .*\[comparison\] cannot be compared: test has no family"):
        plan(f"{text}metrics: {{verdict: test/accuracy/count}}")
    assert plan(f"{text}metrics: {{verdict: test/accuracy/comparison}}").runs


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        (f"{TWO}baseline: {{manager: last}}", "paired_t_examples needs 2 seeds at least: `seeds`"),
        (f"{TWO}seeds: 3", "nothing is compared: add `baseline`"),
        ("axes: {text: [tiny_text, blind]}\nbaseline: {text: tiny_text}\nseeds: 3", "blind variants are not compared"),
        (
            f"{TWO}baseline: {{manager: last}}\nseeds: 5\nreport: {{test: bootstrap}}",
            "bootstrap needs 10 seeds at least: `seeds`",
        ),
    ],
)
def test_a_plan_says_why_no_difference_can_be_shown(
    plan: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, lacking: str
) -> None:
    data = to_json(plan(text))
    print_plan(data, plan_status(data, Store.open(tmp_path / "runs", create=True)))
    assert f"no difference can be shown: {lacking}" in " ".join(capsys.readouterr().out.split())


def test_names_with_square_brackets_are_shown_as_they_are(
    plan: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = plan("why: Is [a/b] better than [/x]?\naxes: {manager: [{name: static, label: 'static [wide]'}, bridge]}")
    data = to_json(found)
    print_plan(data, plan_status(data, Store.open(tmp_path / "runs", create=True)))
    shown = capsys.readouterr().out
    assert "Is [a/b] better than [/x]?" in shown
    assert "static [wide]" in shown
