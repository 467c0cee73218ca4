"""The search itself: the trials that Optuna proposes by itself, whatever the store has, however often it is stopped."""

import math
from pathlib import Path
from typing import Any

import imagined
import optuna
import pytest
from calling import here
from imagined import BEST, SWEEP, Opened, accuracy, write_sweep

from mtlab.launch.status import study_statuses
from mtlab.sweeps import driver
from mtlab.sweeps.algorithms import trial_seed

SPACE = "space:\n  train.lr: {float: [1e-4, 1e-1], log: true}\n  train.weight_decay: {float: [0.0, 1.0]}\n"
SAMPLERS: dict[str, Any] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(
        n_startup_trials=3, n_ei_candidates=24, multivariate=True, group=False, constant_liar=True, seed=seed
    ),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=3),
    "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=3),
    "qmc": lambda seed: optuna.samplers.QMCSampler(
        scramble=True, seed=7, independent_sampler=optuna.samplers.RandomSampler(seed=seed)
    ),
}
OPTIONS = {"tpe": "n_startup_trials: 3", "gp": "n_startup_trials: 3", "nsga2": "population_size: 3"}
PRUNERS: dict[str, tuple[str, Any]] = {
    "none": ("none", optuna.pruners.NopPruner()),
    "median": ("{name: median, n_startup_trials: 2}", optuna.pruners.MedianPruner(2)),
    "hyperband": ("hyperband", optuna.pruners.HyperbandPruner(1, 6, 3)),
}


def sweep(folder: Path, sampler: str, pruner: str, trials: int, further: str = "") -> Path:
    options = f", {OPTIONS[sampler]}" if sampler in OPTIONS else ""
    text = f"{SPACE}sampler: {{name: {sampler}, seed: 7{options}}}\npruner: {PRUNERS[pruner][0]}\n"
    return write_sweep(folder, f"{text}budget: {{trials: {trials}}}\n{further}")


def by_hand(sampler: str, pruner: str, trials: int) -> list[Any]:
    """Search with Optuna alone."""
    study = optuna.create_study(study_name="hunt / base", direction="maximize", pruner=PRUNERS[pruner][1])
    for number in range(trials):
        study.sampler = SAMPLERS[sampler](trial_seed(7, number))
        trial = study.ask()
        lr = trial.suggest_float("train.lr", 1e-4, 1e-1, log=True)
        decay = trial.suggest_float("train.weight_decay", 0.0, 1.0)
        config = {"train": {"lr": lr, "weight_decay": decay}, "manager": {"name": "adaptive"}}
        pruned = False
        for step in range(1, 7):
            value = accuracy(config, 0, step)
            if pruner != "none":
                trial.report(value, step)
                pruned = trial.should_prune()
            if pruned:
                break
        study.tell(trial, None if pruned else value, state=optuna.trial.TrialState.PRUNED if pruned else None)
    return [(each.params, each.state.name, each.values, each.intermediate_values) for each in study.trials]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [*(("tpe", pruner) for pruner in PRUNERS), *((name, "median") for name in SAMPLERS if name != "tpe")],
)
def test_the_trials_are_those_of_optuna_itself(tmp_path: Path, sampler: str, pruner: str) -> None:
    opened = Opened(sweep(tmp_path, sampler, pruner, 9), tmp_path / "runs")
    opened.search()
    assert opened.trials() == by_hand(sampler, pruner, 9)
    if pruner != "none" and sampler in ("tpe", "random"):
        assert {state for _, state, *_ in opened.trials()} == {"COMPLETE", "PRUNED"}


def test_a_known_optimum_is_found(tmp_path: Path) -> None:
    opened = Opened(sweep(tmp_path, "tpe", "none", 40), tmp_path / "runs")
    opened.search()
    best = opened.searches[0].study.best_trial
    assert abs(math.log10(best.params["train.lr"] / BEST)) < 0.1
    assert best.params["train.weight_decay"] < 0.2


@pytest.mark.parametrize("pruner", ["none", "median"])
def test_a_search_that_is_gone_on_with_proposes_what_it_would_have(tmp_path: Path, pruner: str) -> None:
    whole = Opened(sweep(tmp_path, "tpe", pruner, 10), tmp_path / "whole")
    whole.search()
    path = sweep(tmp_path, "tpe", pruner, 6)
    for trials in (2, 1, None):
        Opened(path, tmp_path / "parts").search(trials)
    raised = Opened(sweep(tmp_path, "tpe", pruner, 10), tmp_path / "parts")  # the budget is larger now
    assert len(raised.trials()) == 6
    raised.search()
    assert raised.trials() == whole.trials()
    assert raised.ended == 4


def test_what_the_store_has_changes_no_trial_and_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sweep(tmp_path, "tpe", "median", 8)
    first = Opened(path, tmp_path / "runs")
    first.search()
    again = write_sweep(tmp_path, path.read_text().replace("name: hunt", "").partition("base: imagined")[2], "other")
    monkeypatch.setattr(imagined, "train", None)  # nothing may be run
    monkeypatch.setattr(driver, "BURST", 3)  # known trials end at once: more than are proposed between two polls
    second = Opened(again, tmp_path / "runs")
    second.search()
    assert second.trials() == first.trials()


def test_several_seeds_are_reduced_and_only_survivors_have_them(tmp_path: Path) -> None:
    opened = Opened(sweep(tmp_path, "random", "median", 8, "seeds: {n: 3, reduce: worst}"), tmp_path / "runs")
    opened.search()
    pruned = 0
    for each in opened.searches[0].study.trials:
        seeds = [
            path.parent.name for path in (tmp_path / "runs/cells" / each.user_attrs["cell"]).glob("s*/result.json")
        ]
        if each.state.name == "PRUNED":
            pruned += 1
            assert seeds == ["s0"]
        else:
            assert sorted(seeds) == ["s0", "s1", "s2"]
            by_seed = {seed: values[0] for seed, values in each.user_attrs["seeds"].items()}
            assert each.value == min(by_seed.values()) == by_seed["2"]
            assert each.user_attrs["seconds"] == pytest.approx(1.8)
    assert pruned
    (shown,) = study_statuses(opened.store, ["hunt"])
    assert shown.counts == {"done": 3 * (8 - pruned) + pruned, "pruned": 2 * pruned}
    assert shown.trials == {"done": 8 - pruned, "pruned": pruned}


def test_the_other_seeds_of_a_trial_that_failed_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Opened(sweep(tmp_path, "random", "median", 3, "seeds: 3"), tmp_path / "runs")
    opened.search(**{"nan above": 0.0})
    (shown,) = study_statuses(opened.store, ["hunt"])
    assert (shown.counts, shown.trials) == ({"pruned": 6, "failed": 3}, {"failed": 3})
    code, out, _ = here(monkeypatch, capsys)("status", "hunt", "--watch", "--store", opened.store.root)
    assert (code, "failed" in out) == (0, True)  # it ends


def test_what_the_other_seeds_would_have_started_from_is_not_waited_for(tmp_path: Path) -> None:
    path = sweep(tmp_path, "random", "median", 3, "seeds: 3\nset: {init_from: {study: first}}")
    first = SWEEP.format(name="first").replace("kind: sweep", "kind: ablation\nseeds: 3")
    (tmp_path / "first.yaml").write_text(first.replace("train: {", "train: {lr: 1e-5, "))
    opened = Opened(path, tmp_path / "runs")
    opened.search(**{"nan above": 1e-4})
    (shown,) = study_statuses(opened.store, ["hunt"])
    assert shown.counts == {"done": 1, "pruned": 8, "failed": 3}  # the parent of the first seed is done


def test_wilcoxon_stops_before_all_seeds_are_run(tmp_path: Path) -> None:
    pruner = "{name: wilcoxon, p_threshold: 0.2}"
    text = f"{SPACE}sampler: random\npruner: {pruner}\nseeds: 6\nbudget: {{trials: 6}}"
    opened = Opened(write_sweep(tmp_path, text), tmp_path / "runs")
    opened.search()
    states = {each.state.name for each in opened.searches[0].study.trials}
    assert states == {"COMPLETE", "PRUNED"}
    for each in opened.searches[0].study.trials:
        assert (len(each.user_attrs["seeds"]) == 6) == (each.state.name == "COMPLETE")
        assert sorted(each.intermediate_values) == sorted(map(int, each.user_attrs["seeds"]))


def test_start_points_come_first_and_the_rest_of_them_is_drawn(tmp_path: Path) -> None:
    further = "start_from: [default, {train.lr: 0.05}]"
    opened = Opened(sweep(tmp_path, "random", "none", 3, further), tmp_path / "runs")
    opened.search()
    first, second, third = (params for params, *_ in opened.trials())
    assert first == {"train.lr": 1e-3, "train.weight_decay": 0.01}
    assert second["train.lr"] == 0.05
    assert third["train.lr"] not in (1e-3, 0.05)


def test_each_variant_has_its_own_search_and_a_new_one_leaves_the_others_alone(tmp_path: Path) -> None:
    two = sweep(tmp_path, "tpe", "none", 4, "over: {manager: [bridge, static]}")
    before = Opened(two, tmp_path / "runs")
    before.search()
    three = sweep(tmp_path, "tpe", "none", 4, "over: {manager: [bridge, static, mean]}")
    after = Opened(three, tmp_path / "runs")
    assert [len(after.trials(variant)) for variant in range(3)] == [4, 4, 0]
    after.search()
    assert after.ended == 4
    assert [after.trials(variant) for variant in (0, 1)] == [before.trials(variant) for variant in (0, 1)]
    assert after.trials(1)[0][0] == after.trials(2)[0][0]  # where spaces agree, so do random draws


def test_conditions_follow_what_was_drawn(tmp_path: Path) -> None:
    text = """
over: {manager: [bridge, static]}
space:
  train.lr: {float: [1e-4, 1e-1], log: true}
  model.cross_layers: {choice: [1, 2]}
  vision.layers: {choice: [all, [1, 3]], when: {model.cross_layers: 2}}
  manager.temperature: {float: [0.5, 2.0], unless: {manager.name: bridge}}
budget: {trials: 12}
"""
    opened = Opened(write_sweep(tmp_path, text), tmp_path / "runs")
    opened.search()
    for variant, always in ((0, set()), (1, {"manager.temperature"})):
        for params, *_ in opened.trials(variant):
            further = {"vision.layers"} if params["model.cross_layers"] == 2 else set()
            assert params.keys() == {"train.lr", "model.cross_layers"} | always | further
    cells = {each.user_attrs["cell"]: each.params for each in opened.searches[0].study.trials}
    drawn = {params.get("vision.layers") for params in cells.values()}
    assert drawn == {None, "all", "[1, 3]"}
    for cell, params in cells.items():
        config = opened.store.config(f"{cell}/s0")["config"]  # type: ignore[index]
        wanted = {"[1, 3]": [1, 3], None: "all"}.get(params.get("vision.layers"), params.get("vision.layers"))
        assert config["vision"]["layers"] == wanted
        assert config["train"]["lr"] == params["train.lr"]
