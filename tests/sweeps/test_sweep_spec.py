"""The language of sweeps: what it means, and everything that a file can get wrong, told in one line before anything."""

from pathlib import Path

import pytest
from imagined import free, write_sweep

from mtlab.errors import UserError
from mtlab.studies.axes import plain_label
from mtlab.sweeps.space import parse_parameter
from mtlab.sweeps.spec import read_sweep
from mtlab.sweeps.trials import trial_runs
from mtlab.sweeps.variants import PreparedSweep, prepare

LR = "space: {train.lr: {float: [1e-4, 1e-1], log: true}}"


def prepared(folder: Path, text: str, *overrides: str) -> PreparedSweep:
    return prepare(read_sweep(write_sweep(folder, text), overrides), free)


def told(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        prepared(folder, text, *overrides)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith((str(folder), "command line"))
    return line.partition(": ")[2]


def spaces(found: PreparedSweep) -> dict[str, dict[str, str]]:
    return {each.label: {one.path: str(one) for one in each.space} for each in found.variants}


def test_a_sweep_has_one_search_for_each_cell_of_over(tmp_path: Path) -> None:
    over = "over: {manager: [bridge, {name: static, label: ours}], model.cross_layers: [1, 2]}"
    found = prepared(tmp_path, f"{over}\nbaseline: {{manager: bridge}}\n{LR}")
    assert [each.label for each in found.variants] == [
        f"{manager} · cross_layers {layers}" for manager in ("bridge", "ours") for layers in (1, 2)
    ]
    assert [each.cell.row.compare_to for each in found.variants] == [None, None, 0, 1]
    assert spaces(found)["bridge · cross_layers 1"] == {"train.lr": "0.0001 – 0.1, log"}
    assert [each.label for each in prepared(tmp_path, LR).variants] == ["base"]


def test_each_manager_has_its_own_default_space_without_what_is_set(tmp_path: Path) -> None:
    text = """
over: {manager: [bridge, {name: static, start: top}, sparse]}
space:
  train.lr: {float: [1e-4, 1e-1], log: true}
  manager: default
  manager.k: {int: [1, 2], when: {manager.name: sparse}}
"""
    found = spaces(prepared(tmp_path, text))
    assert list(found["bridge"]) == ["train.lr"]
    label = "static (start top)"
    assert list(found[label]) == ["train.lr", "manager.weight", "manager.temperature", "manager.noise"]
    assert found["sparse"]["manager.k"] == "1 – 2"
    assert "manager.start" in found["sparse"]
    alone = prepared(tmp_path, "space: default\nset: {manager: {name: static, noise: 0.5}}", "manager.weight=scalar")
    assert list(spaces(alone)["base"]) == ["manager.start", "manager.temperature"]
    assert list(spaces(prepared(tmp_path, "over: {manager: [static]}\nspace: default"))["static"]) == [
        "manager.weight",
        "manager.start",
        "manager.temperature",
        "manager.noise",
    ]


def test_conditions_on_what_is_not_searched_are_settled_at_once(tmp_path: Path) -> None:
    text = """
over: {manager: [bridge, static]}
space:
  train.lr: {float: [1e-4, 1e-1], log: true}
  manager.temperature: {float: [0.1, 1.0], when: {manager.name: static}}
  manager.start: {choice: [top, uniform], unless: {manager.name: bridge}}
  manager.noise: {float: [0.0, 1.0], when: {manager.name: static, manager.start: top}}
"""
    found = spaces(prepared(tmp_path, text))
    assert list(found["bridge"]) == ["train.lr"]
    assert found["static"]["manager.temperature"] == "0.1 – 1"
    assert found["static"]["manager.noise"] == "0 – 1, when manager.name static, manager.start top"


def test_objectives_have_a_direction(tmp_path: Path) -> None:
    def objectives(text: str) -> list[tuple[str, str]]:
        return [(each.metric, str(each.mode)) for each in prepared(tmp_path, f"{LR}\n{text}").sweep.objectives]

    assert objectives("") == [("val/accuracy", "max")]
    assert objectives("metrics: {choose: val/loss}") == [("val/loss", "min")]
    assert objectives("objective: train/loss") == [("train/loss", "min")]
    assert objectives("objective: [val/accuracy/colour, cost/flops, {metric: cost/seconds, mode: min}]") == [
        ("val/accuracy/colour", "max"),
        ("cost/flops", "min"),
        ("cost/seconds", "min"),
    ]


def test_choices_of_any_kind_are_told_apart(tmp_path: Path) -> None:
    text = "space: {text.layers: {choice: [all, [1, 3], [1, 2]]}, model.cross_layers: {choice: [1, 2]}}"
    layers, depth = prepared(tmp_path, text).variants[0].space
    assert layers.names == ("all", "[1, 3]", "[1, 2]")
    assert depth.names == (1, 2)
    assert [layers.decode(name) for name in layers.names] == ["all", [1, 3], [1, 2]]
    assert layers.encode([1, 2]) == "[1, 2]"


BAD = {
    # Spaces
    "space: {}": "space: expected default, or path → distribution",
    "space: [train.lr]": "space: expected default, or path → distribution",
    "why: x": "space: a sweep needs a space",
    "space: {train.lr: {float: []}}": "space.train.lr: float: expected a list, found []",
    "space: {train.lr: {float: [1e-1, 1e-4]}}": "space.train.lr: float: expected a lower and a higher bound",
    "space: {train.lr: {float: [0.1, 0.1]}}": "space.train.lr: float: expected a lower and a higher bound",
    "space: {train.lr: {float: [0, 1], log: true}}": "space.train.lr: log: expected bounds above 0",
    "space: {train.lr: {float: [-1, 1], log: true}}": "space.train.lr: log: expected bounds above 0",
    "space: {train.lr: {float: [0.1, 1], log: yes}}": "space.train.lr: log: expected true or false, found 'yes'",
    "space: {train.lr: {float: [0.1, 1], step: 0.1}}\nobjective: [cost/flops, val/accuracy]": (
        "objective[0]: the first objective chooses the best trial"
    ),
    "space: {train.lr: {float: [0.1, 1], step: 0.4}}": "space.train.lr: step: 0.4 does not divide the range",
    "space: {train.lr: {float: [0.1, 1], step: .nan}}": "space.train.lr: step: expected a number above 0, found nan",
    "space: {train.lr: {float: [0.1, 1], step: .inf}}": "space.train.lr: step: expected a number above 0, found inf",
    "space: {train.lr: {float: [0.1, 1], log: true, step: 0.1}}": "space.train.lr: log and step do not go together",
    "space: {train.lr: {range: [0.1, 1]}}": "space.train.lr: expected one of float, int, choice",
    "space: {train.lr: 0.1}": "space.train.lr: expected a distribution such as",
    "space: {train.lr: {float: [0.1, 1], logs: true}}": "space.train.lr: float takes no logs",
    "space: {train.lr: {choice: []}}": "space.train.lr: choice: expected a list, found []",
    "space: {train.clip: {choice: [1.0, 1.0]}}": "space.train.clip: choice: two of them are called the same",
    "space: {train.batch: {int: [1, 2.5]}}": "space.train.batch: int: expected a lower and a higher bound",
    "space: {train.batch: {float: [4, 8]}}": "space.train.batch: base refuses train.batch 4.1: expected a whole number",
    "space: {train.lrr: {float: [0.1, 1]}}": "space.train.lrr: no setting is called 'train.lrr'; did you",
    "space: {text: default}": "space.text: only managers have a space of their own",
    "space: {data.train: {int: [8, 64]}}": "space.data.train: the data decide what is measured",
    "space: {metrics.choose: {choice: [val/loss]}}": "space.metrics.choose: metrics decide what is compared",
    "space: {train.decay: {choice: [linear, cubic]}}": "space.train.decay: base refuses train.decay cubic",
    "space: {train.lr: {float: [-1, 1]}}": "space.train.lr: base refuses train.lr -1: -1.0 is out of range",
    "space: {manager: {choice: [bridge, statc]}}": "space.manager: base refuses manager statc: manager.name: unknown",
    "space: {manager.temperature: {float: [0.1, 1]}}\nover: {manager: [static, bridge]}": (
        "space.manager.temperature: bridge refuses manager.temperature 0.1: manager 'bridge' has no such option; "
        "known: experts (limit it with `when: {manager.name: …}`)"
    ),
    "space: {manager: default}\nover: {manager: [static, bridge]}": "space: bridge: nothing is searched",
    "space: {manager.k: {int: [1, 2], when: {manager.name: sparse}}}": (
        "space.manager.k.when.manager.name: no variant has 'sparse'"
    ),
    "space: {train.lr: {float: [0.1, 1], when: {}}}": "space.train.lr.when: expected path → value",
    "space: {train.lr: {float: [0.1, 1], when: {model.depth: 1}}}": (
        "space.train.lr.when.model.depth: no setting is called 'model.depth'"
    ),
    "space: {train.lr: {float: [0.1, 1], when: {train.decay: linear}}, train.decay: {choice: [linear, cosine]}}": (
        "space.train.lr: depends on train.decay, which must stand before it"
    ),
    "space: {train.decay: {choice: [linear]}, train.power: {float: [1, 2], when: {train.decay: cosine}}}": (
        "space.train.power: base: no value of what it depends on meets its condition"
    ),
    f"{LR}\nover: {{manager: [bridge, static], vision.layers: {{values: [[1], [2]], when: {{manager.name: no}}}}}}": (
        "over.vision.layers.when.manager.name: no cell has 'no'"
    ),
    "space: {train.clip: {choice: [1.0, 2.0]}, train.lr: {float: [0.1, 1], when: {manager.name: [static, adaptve]}}}\n"
    "over: {manager: [static, adaptive]}": "space.train.lr.when.manager.name: no variant has 'adaptve'",
    "space: {train.lr: {float: [0.1, 1], unless: {manager.name: brigde}}}": (
        "space.train.lr.unless.manager.name: no variant has 'brigde'"
    ),
    "space: {vision.layers: {choice: [[1], [2]]}, vision: {choice: [{name: planted}]}}": (
        "space.vision: replaces vision.layers, which is searched before it: put vision first"
    ),
    # Several processes
    f"{LR}\nresources: {{processes: 3}}": "resources.processes: 3 processes cannot share 8 evenly; they can share 6",
    f"{LR}\nresources: {{processes: 4}}\nover: {{train.batch: [8, 6]}}": (
        "resources.processes: 4 processes cannot share 6 evenly; they can share 4 or 8 (batch 6)"
    ),
    "space: {train.batch: {int: [4, 8]}}\nresources: {processes: 2}": (
        "space.train.batch: base may draw 5: 2 processes cannot share 5 evenly; they can share 4 or 6 "
        "(resources.processes); start at a multiple of 2, and say step: 2"
    ),
    "space: {train.batch: {int: [4, 64], log: true}}\nresources: {processes: 4}": (
        "space.train.batch: base may draw 5: 4 processes cannot share 5 evenly; they can share 4 or 8 "
        "(resources.processes); say choice: […]"
    ),
    "space: {train.batch: {int: [4, 16], step: 6}}\nresources: {processes: 4}": (
        "space.train.batch: base may draw 10: 4 processes cannot share 10 evenly"
    ),
    "space: {train.batch: {choice: [8, 16, 10, 32]}}\nresources: {processes: 8}": (
        "space.train.batch: base may draw 10: 8 processes cannot share 10 evenly; they can share 8 or 16"
    ),
    "resources: {processes: 3}\nover: {manager: [static, bridge]}\nspace: {train.clip: {choice: [1.0, 2.0]}, "
    "train.batch: {choice: [6, 12], when: {manager.name: static}}}": (
        "resources.processes: 3 processes cannot share 8 evenly; they can share 6 or 9 (bridge)"
    ),
    # Clashes
    f"{LR}\nset: {{train: {{lr: 1e-3}}}}": "set.train.lr: is searched too (space.train.lr): remove one of the two",
    "space: {train.length.steps: {int: [2, 4]}}\nset: {train: {length: {epochs: 1}}}": (
        "set.train.length: is searched too (space.train.length.steps): remove one of the two"
    ),
    "space: {init_from: {choice: [null]}}\ninit_from: null": "init_from: is searched too (space.init_from)",
    f"{LR}\nover: {{train.lr: [1e-3, 1e-2]}}": "space.train.lr: lr 0.001 sets train.lr itself (over)",
    "space: {manager.noise: {float: [0.1, 1]}}\nover: {manager: [{name: static, noise: 0.5}]}": (
        "space.manager.noise: static (noise 0.5) sets manager.noise itself (over): remove one of the two"
    ),
    # Variants
    f"{LR}\nover: {{manager: [brige]}}": "over.manager: brige: unknown manager 'brige'; did you mean 'bridge'?",
    f"{LR}\nover: {{manager: []}}": "over.manager: has no values",
    f"{LR}\nover: {{manager: [static, {{name: static, frozen: false, label: B}}]}}": (
        "over: 'static' and 'B' are the same cell: they differ in nothing that counts"
    ),
    f"{LR}\naxes: {{manager: [bridge]}}": "axes: unknown key",
    f"{LR}\nover: {{manager: [bridge]}}\nbaseline: {{manager: static}}": "baseline.manager: matches no value of axis",
    f"{LR}\nbudgets: {{trials: 3}}": "budgets: unknown key; did you mean 'budget'?",
    f"{LR}\nset: {{train: {{lrs: 1}}}}": "set.train.lrs: unknown key",
    # Objectives and constraints
    f"{LR}\nobjective: test/accuracy": "objective: test/accuracy: a search may not see test data",
    f"{LR}\nobjective: [val/accuracy, test/loss]": "objective[1]: test/loss: a search may not see test data",
    f"{LR}\nobjective: accuracy": "objective: 'accuracy' is no metric of a search",
    f"{LR}\nobjective: val/acuracy": "objective: its task has no metric 'val/acuracy'; metrics: cost/flops",
    f"{LR}\nobjective: val/accuracy/typo": "objective: val has no family 'typo'",
    f"{LR}\nobjective: val/primary/left": "objective: primary has no families: name the metric that is meant",
    f"{LR}\nconstraints: {{val/accuracy/typo: {{min: 0.5}}}}": "constraints.val/accuracy/typo: val has no family",
    f"{LR}\nobjective: {{metric: val/accuracy, mode: up}}": "objective.mode: expected max or min, found 'up'",
    f"{LR}\nobjective: {{metric: val/loss, mode: max}}": "objective: max contradicts val/loss, which is better small",
    f"{LR}\nobjective: {{metric: val/accuracy, direction: up}}": "objective.direction: unknown key",
    f"{LR}\nobjective: [val/accuracy, val/accuracy]": "objective[1]: val/accuracy is repeated",
    f"{LR}\nobjective: cost/flops": "objective: a search for low cost alone needs no training",
    f"{LR}\nconstraints: {{test/accuracy: {{min: 0.5}}}}": "constraints.test/accuracy: test/accuracy: a search may not",
    f"{LR}\nconstraints: {{val/accuracy: {{min: 60}}}}": "constraints.val/accuracy.min: 60 is no share, from 0 to 1",
    f"{LR}\nconstraints: {{cost/params: 5}}": "constraints.cost/params: expected {max: …} or {min: …}, found 5",
    f"{LR}\nconstraints: {{cost/params: {{max: null}}}}": "constraints.cost/params: expected {max: …} or {min: …}",
    f"{LR}\nconstraints: {{cost/param: {{max: 5}}}}": "constraints.cost/param: its task has no such metric",
    f"{LR}\nconstraints: {{cost/params: {{max: 5, min: 6}}}}": "constraints.cost/params: nothing is ≤ 5 and ≥ 6",
    **{
        f"space: {{{path}: {{choice: [1, 2]}}}}": f"space.{path}: it changes no result: there is nothing to search"
        for path in ("record", "record.examples", "train.threads", "train.micro_batch", "train.device", "cache.levels")
    },
    # Seeds, sampler, pruner, budget, start points
    f"{LR}\nseeds: 0": "seeds.n: 0 is out of range: must be at least 1",
    f"{LR}\nseeds: [0, 1]": "seeds: expected a number or {n, reduce}",
    f"{LR}\nseeds: {{n: 2, reduce: max}}": "seeds.reduce: 'max' is not one of",
    f"{LR}\nsampler: tp": "sampler: unknown sampler 'tp'; did you mean 'tpe'?",
    f"{LR}\nsampler: {{name: tpe, n_startup: 3}}": (
        "sampler.n_startup: sampler 'tpe' has no such option; did you mean 'n_startup_trials'?"
    ),
    f"{LR}\nsampler: {{name: random, n_startup_trials: 3}}": "sampler.n_startup_trials: sampler 'random' has no",
    f"{LR}\nsampler: {{name: tpe, n_startup_trials: few}}": "sampler.n_startup_trials: expected a whole number",
    f"{LR}\nsampler: {{name: cmaes}}\nobjective: [val/accuracy, cost/flops]": "sampler: cmaes takes one objective",
    f"{LR}\npruner: medan": "pruner: unknown pruner 'medan'; did you mean 'median'?",
    f"{LR}\npruner: {{}}": "pruner: expected a name or {name: …, options…}, found {}",
    f"{LR}\npruner: {{name: median, warmup: 3}}": "pruner.warmup: pruner 'median' has no such option",
    f"{LR}\npruner: wilcoxon": "pruner: wilcoxon compares over seeds and needs at least 5: seeds.n is 1",
    f"{LR}\npruner: median\nobjective: [val/accuracy, cost/flops]": "pruner: median takes one objective",
    f"{LR}\nbudget: {{trials: 0}}": "budget.trials: 0 is out of range",
    f"{LR}\nbudget: {{trials: 300000}}": "budget.trials: 300000 is out of range",
    f"{LR}\nbudget: {{hours: -1}}": "budget.hours: -1.0 is out of range",
    f"{LR}\nstart_from: first": "start_from: expected default or setting → value",
    f"{LR}\nstart_from: {{train.lr: 1}}": "start_from.train.lr: 1 lies outside of 0.0001 to 0.1",
    f"{LR}\nstart_from: [default, {{train.lr: high}}]": "start_from[1].train.lr: expected a number, found 'high'",
    f"{LR}\nstart_from: {{train.warmup: 0.1}}": "start_from.train.warmup: is not searched",
    f"{LR}\nstart_from: {{train.rl: 0.1}}": "start_from.train.rl: is not searched; did you mean 'train.lr'?",
    f"{LR}\nstart_from: [{{train.rl: 0.1}}]": "start_from[0].train.rl: is not searched; did you mean 'train.lr'?",
    # Storage and finally
    f"{LR}\nstorage: redis://here": "storage: 'redis://here': expected journal",
    f"{LR}\nstorage: postgresql://me:secret@here/x": "storage: leave the password out",
    f"{LR}\nstorage: postgresql://me@here/x?password=secret": "storage: leave the password out",
    f"{LR}\nstorage: postgresql://me@here": "storage: names no database",
    f"{LR}\nfinally: {{seed: 3}}": "finally.seed: unknown key; did you mean 'seeds'?",
    f"{LR}\nfinally: {{seeds: 1000000000000}}": "finally.seeds: expected a number from 1 to 100,000, or",
    f"{LR}\nfinally: {{seeds: 100000}}": "finally.seeds: 100,000 runs (winners: 1, seeds of each: 100,000); at most",
    f"{LR}\nfinally: all": "finally: expected none or {retrain, seeds, evaluate}",
    f"{LR}\nfinally: {{retrain: front}}": "finally.retrain: front needs several objectives",
    f"{LR}\nover: {{manager: [bridge]}}\nbaseline: {{manager: bridge}}\nfinally: {{seeds: {{until: decided}}}}": (
        "finally.seeds.until: nothing is compared, so nothing can be decided: add a second variant to `over`"
    ),
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: text.replace("\n", " | ")[-70:])
def test_what_is_wrong_is_told_in_one_line(text: str, tmp_path: Path) -> None:
    assert told(tmp_path, text).startswith(BAD[text])


@pytest.mark.parametrize(
    "text",
    [
        f"{LR}\nresources: {{processes: 4}}",
        "space: {train.batch: {int: [4, 64], step: 4}}\nresources: {processes: 4}",
        "space: {train.batch: {choice: [6, 12]}}\nresources: {processes: 3}",  # the batch of `set` is never trained
        "space: {train.batch: {int: [4, 8]}}",
        "space: {train.batch: {float: [4, 8], step: 2}}",
    ],
)
def test_batches_that_all_processes_can_share_are_fine(text: str, tmp_path: Path) -> None:
    assert prepared(tmp_path, text).variants


def test_a_draw_that_processes_cannot_share_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    found = prepared(tmp_path, "space: {train.batch: {int: [4, 8], step: 4}}\nresources: {processes: 4}")
    with pytest.raises(UserError, match="4 processes cannot share 6 evenly"):
        trial_runs(found, found.variants[0], 0, {"train.batch": 6})
    assert trial_runs(found, found.variants[0], 0, {"train.batch": 4}).runs


@pytest.mark.parametrize("asked", ["null", "true"])
def test_trials_measure_interventions_only_where_they_are_asked_for(asked: str, tmp_path: Path) -> None:
    found = prepared(tmp_path, f"{LR}\nset: {{record: {{interventions: {asked}}}, cache: {{enabled: true}}}}")
    (config,) = trial_runs(found, found.variants[0], 0, {"train.lr": 1e-3}).configs.values()
    assert config["config"]["record"]["interventions"] is (asked == "true")


def test_the_line_is_named_and_the_command_line_too(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, f"{LR}\nobjective: test/accuracy")
    with pytest.raises(UserError) as caught:
        read_sweep(path)
    assert str(caught.value).startswith(f"{path}:5: objective: ")
    assert (
        told(tmp_path, LR, "study.kind=ablation")
        == "kind: is no sweep but kind: ablation (`mtlab run` takes ablations)"
    )
    assert told(tmp_path, LR, "train.lr=1e-3") == "train.lr: is searched too (space.train.lr): remove one of the two"


def test_what_a_start_point_cannot_take_over_is_drawn_and_told(tmp_path: Path) -> None:
    text = "space: {train.lr: {float: [1e-2, 1e-1]}, train.warmup: {float: [0.0, 0.5]}}\nstart_from: default"
    (variant,) = prepared(tmp_path, text).variants
    assert variant.start_points == ({"train.warmup": 0.1},)
    assert variant.remarks == ("base: start_from default: train.lr 0.001 lies outside of 0.01 to 0.1; it is drawn",)


def test_a_start_point_finds_the_default_among_nodes_and_lengths(tmp_path: Path) -> None:
    manager, further = "{name: adaptive, weight: vector}", "{name: adaptive, weight: scalar}"
    lengths = "train.length: {choice: [{steps: 10}, {steps: 6}]}, vision.layers: {choice: [top2, all]}"
    for written, name in ((manager, "name adaptive, weight vector"), ("adaptive", "adaptive")):
        space = f"space: {{manager: {{choice: [static, {further}, {written}]}}, {lengths}}}"
        (variant,) = prepared(tmp_path, f"{space}\nstart_from: default").variants
        assert variant.remarks == ()
        assert variant.start_points == ({"manager": name, "train.length": "steps 6", "vision.layers": "all"},)
    (lacking,) = prepared(
        tmp_path, f"space: {{manager: {{choice: [static, {further}]}}}}\nstart_from: default"
    ).variants
    assert lacking.start_points == ({},)
    assert lacking.remarks[0].startswith("base: start_from default: manager name adaptive, weight vector")


def test_a_base_may_have_conditions_for_variants_that_this_file_leaves_out(tmp_path: Path) -> None:
    space = "space: {manager.temperature: {float: [0.5, 2], when: {manager.name: [adaptive, sparse]}}, CLIP}"
    text = space.replace("CLIP", "train.clip: {choice: [1.0, 2.0]}")
    write_sweep(tmp_path, f"over: {{manager: [bridge, adaptive, sparse]}}\n{text}", "broad")
    path = tmp_path / "narrow.yaml"
    path.write_text("kind: sweep\nbase: broad\nname: narrow\nover: {manager: [bridge, adaptive]}\n")
    both = {"bridge": ["train.clip"], "adaptive": ["manager.temperature", "train.clip"]}

    def searched(*overrides: str) -> dict[str, list[str]]:
        return {label: [*each] for label, each in spaces(prepare(read_sweep(path, overrides), free)).items()}

    assert searched() == both
    assert searched("study.over.manager=[bridge, static]") == {"bridge": ["train.clip"], "static": ["train.clip"]}
    path.write_text(path.read_text() + "space: {manager.temperature: {float: [0.5, 1]}}\n")  # another range
    assert searched() == both
    path.write_text("kind: sweep\nbase: broad\nname: narrow\nover: {manager: [bridge, static]}\n")
    broad = tmp_path / "broad.yaml"
    broad.write_text(f"{broad.read_text()}\nstart_from: {{train.clip: 1.0, manager.temperature: 0.5}}\n")
    assert searched() == {"bridge": ["train.clip"], "static": ["train.clip"]}
    sparse = "manager.k: {int: [1, 2], when: {manager.name: sparse}}"
    with pytest.raises(UserError, match="no variant has 'sparse'"):
        searched(f"study.space={{train.clip: {{choice: [1.0, 2.0]}}, {sparse}}}")


def test_the_managers_own_space_may_stand_behind_one_of_its_options(tmp_path: Path) -> None:
    text = "space: {manager.temperature: {float: [0.5, 2]}, manager: default}\nover: {manager: [adaptive]}"
    (own,) = spaces(prepared(tmp_path, text)).values()
    assert next(iter(own)) == "manager.temperature"
    assert len(own) > 1


def test_a_space_reads_as_it_is_written(tmp_path: Path) -> None:
    from mtlab.sweeps.space import SearchParameter

    text = "space: {train.batch: {int: [2, 8], step: 2}, train.clip: {choice: [null, 1.0], unless: {train.batch: 2}}}"
    space = prepared(tmp_path, text).variants[0].space
    assert len(space) == 2
    for each in space:
        assert SearchParameter.from_json(each.path, each.to_json()) == each
        assert plain_label(each.to_json())


def test_numbers_of_seeds_are_written_as_in_a_study(tmp_path: Path) -> None:
    sweep = prepared(tmp_path, f"{LR}\nseeds: 1e1\nfinally: {{seeds: 1e1}}").sweep
    assert sweep.final is not None
    assert (sweep.seeds.n, sweep.final.study_seeds) == (10, [*range(1000, 1010)])


def test_steps_are_the_numbers_that_one_would_write() -> None:
    """0.1 × 3 is 0.30000000000000004 in floats, and so would be another cell."""
    drawn = parse_parameter("train.weight_decay", {"float": [0.0, 0.7], "step": 0.1})
    assert [drawn.decode(0.1 * step) for step in range(8)] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
