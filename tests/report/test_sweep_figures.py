"""Figures of searches, and a sweep's page: what they show is what the trials were, and nothing missing breaks them."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from imagined import Opened, write_sweep

from mtlab.report.figures import theme
from mtlab.report.figures.sweep import (
    best_so_far,
    importances,
    parallel_coordinates,
    pareto_front,
    slices,
    trial_curves,
)
from mtlab.report.formats.sweep_tables import sweep_markdown
from mtlab.report.page.sweep_page import sweep_page
from mtlab.report.sweep_report import build_sweep_report
from mtlab.sweeps.spec import Objective
from mtlab.sweeps.stored import StoredSearch, load_searches

TEXT = """
why: Which is better?
over: {manager: [bridge, {name: static, label: "<ours>"}]}
baseline: {manager: bridge}
space: {train.lr: {float: [1e-4, 1e-1], log: true}, train.lr_layer_weights: {float: [1, 30]},
  model.cross_layers: {int: [1, 3]}, manager: default}
sampler: {name: random, seed: 4}
budget: {trials: 8}
"""
MEDIAN = "pruner: {name: median, n_startup_trials: 2, n_warmup_steps: 2}"
TWO = "objective: [val/accuracy, cost/params]"


class Searched:
    """A sweep of imagined runs, with what figures take."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.plan = opened.store.plan("hunt")
        self.searches: tuple[StoredSearch, ...] = load_searches(opened.storage, self.plan)
        self.styles = theme.assign_styles(each.label for each in self.searches)

    def page(self) -> str:
        report = build_sweep_report(self.opened.store, self.plan, self.searches)
        return sweep_page(self.opened.store, self.searches, report)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Searched]:
    made: dict[str, Searched] = {}

    def search(further: str) -> Searched:
        if further not in made:
            folder = tmp_path_factory.mktemp("sweep")
            opened = Opened(write_sweep(folder, f"{TEXT}\n{further}"), folder / "runs")
            opened.search()
            made[further] = Searched(opened)
        return made[further]

    return search


@pytest.fixture
def untouched(tmp_path: Path) -> Searched:
    from mtlab.sweeps.plan import PlanFile, to_json

    opened = Opened(write_sweep(tmp_path, f"{TEXT}\n{TWO}"), tmp_path / "runs")
    PlanFile(opened.store, to_json(opened.prepared))
    return Searched(opened)


def lines(figure: Any, name: str) -> list[Any]:
    return [trace for trace in figure.data if trace.name == theme.escape_markup(name)]


def test_the_best_so_far_never_falls_and_ends_at_the_best(searched: Callable[[str], Searched]) -> None:
    made = searched(MEDIAN)
    figure = best_so_far.plot_best_so_far(made.searches, made.styles)
    for each in made.searches:
        line, done, pruned = lines(figure, each.label)
        known = [value for value in line.y if value is not None]
        assert known == sorted(known)
        assert known[-1] == pytest.approx(100 * each.best.values[0])  # type: ignore[union-attr]
        assert len(line.x) == len(each.trials) == len(done.x) + len(pruned.x)
    assert "Trials: " in figure.layout.meta["caption"]
    assert (figure.layout.xaxis.dtick, figure.layout.xaxis.tickformat) == (1, "d")  # no trial 0.2


def test_importances_name_their_evaluator_and_sum_to_one(searched: Callable[[str], Searched]) -> None:
    made = searched("")
    figure = importances.plot_importances(made.searches, made.styles)
    assert "PED-ANOVA" in figure.layout.meta["title"]
    for bar in figure.data:
        assert sum(bar.x) == pytest.approx(1)
    own = lines(figure, "<ours>")[0]
    assert set(own.y) == set(made.searches[1].space)


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_importances_ask_what_makes_trials_good(direction: str, sign: int) -> None:
    study, dice = optuna.create_study(direction=direction), np.random.default_rng(0)
    within = {name: optuna.distributions.FloatDistribution(0, 1) for name in ("helps", "ruins")}
    for _ in range(60):
        params = {name: float(dice.random()) for name in within}
        score = 0.5 + 0.4 * math.exp(-(((params["helps"] - 0.7) / 0.1) ** 2)) - 0.4 * (params["ruins"] > 0.8)
        study.add_trial(optuna.trial.create_trial(params=params, distributions=within, value=sign * score))
    status = SimpleNamespace(states=dict.fromkeys(range(60), "done"))
    mode = Objective(metric="val/loss" if sign < 0 else "val/accuracy", mode="max" if sign > 0 else "min")
    found: Any = SimpleNamespace(study=study, trials=study.trials, status=status, objectives=[mode])
    shares = importances.measure_importances(found)
    assert shares is not None
    assert shares["helps"] > 0.8


def test_slices_show_every_trial_at_its_setting(searched: Callable[[str], Searched]) -> None:
    made = searched(MEDIAN)
    figure = slices.plot_slices(made.searches, made.styles)
    bridge = [trace for trace in lines(figure, "bridge") if trace.xaxis == "x"]
    drawn = {number: x for trace in bridge for number, x in zip(trace.customdata, trace.x, strict=True)}
    assert drawn == {trial.number: trial.params["train.lr"] for trial in made.searches[0].trials}
    assert figure.layout.xaxis.type == "log"


def test_curves_end_where_the_pruner_stopped_them(searched: Callable[[str], Searched]) -> None:
    made = searched(MEDIAN)
    each = made.searches[0]
    curves = trial_curves.read_trial_curves(made.opened.store, each)
    for trial in each.trials:
        last = trial.last_step if trial.state.name == "PRUNED" else 6
        assert [step for step, _ in curves[trial.number]] == list(range(1, last + 1))
    figure = trial_curves.plot_trial_curves(each, curves, made.styles)
    crossed = [trace.name for trace in figure.data if trace.marker.symbol[-1] == "x"]
    assert len(crossed) == sum(trial.state.name == "PRUNED" for trial in each.trials) > 0
    assert figure.data[-1].name.startswith(f"trial {each.best.number},")  # type: ignore[union-attr]


def test_the_front_is_what_no_other_trial_beats(searched: Callable[[str], Searched]) -> None:
    made = searched(TWO)
    figure = pareto_front.plot_pareto_front(made.searches, made.styles)
    for each in made.searches:
        rest, front = lines(figure, each.label)
        assert len(rest.x) + len(front.x) == 8
        assert list(front.x) == sorted(front.x)
        assert list(front.y) == sorted(front.y)
        assert set(front.customdata) == {trial.number for trial in each.study.best_trials}  # type: ignore[union-attr]


def test_parallel_coordinates_keep_a_line_a_trial_and_the_best_bold(searched: Callable[[str], Searched]) -> None:
    made = searched("")
    figure = parallel_coordinates.plot_parallel_coordinates(made.searches[1], made.styles)
    assert len(figure.data) == 8
    bold = [trace for trace in figure.data if trace.line.width > 3]
    assert len(bold) == 1
    assert bold[0].y[0] == 1
    assert figure.layout.plot_bgcolor is None, "the theme decides"
    settings = {path.rpartition(".")[2] for path in made.searches[1].trials[0].params}
    assert "lr_layer_weights" in settings, "longer than the labels that Optuna leaves whole"
    assert {name for name, _ in figure.data[0].customdata[1:]} == settings
    assert len({*figure.layout.xaxis.ticktext} - {""}) == len(settings) + 1


def test_where_nothing_is_there_yet_figures_say_so(untouched: Searched) -> None:
    searches = untouched.searches
    made = [
        best_so_far.plot_best_so_far(searches),
        importances.plot_importances(searches),
        slices.plot_slices(searches),
        pareto_front.plot_pareto_front(searches),
        *(parallel_coordinates.plot_parallel_coordinates(each) for each in searches),
        *(
            trial_curves.plot_trial_curves(each, trial_curves.read_trial_curves(untouched.opened.store, each))
            for each in searches
        ),
    ]
    for figure in made:
        assert not figure.data
        assert figure.layout.meta["why"]


@pytest.mark.parametrize("further", [MEDIAN, TWO, ""])
def test_a_page_holds_all_and_asks_for_nothing(further: str, searched: Callable[[str], Searched]) -> None:
    made = searched(further)
    page = made.page()
    assert "&lt;ours&gt;" in page
    assert "<ours>" not in page
    assert "have not been retrained on fresh seeds yet" in page
    assert 'src="http' not in page


def test_a_label_in_a_note_is_no_tag_in_markdown(untouched: Searched) -> None:
    report = build_sweep_report(untouched.opened.store, untouched.plan, untouched.searches)
    text = sweep_markdown(replace(report, notes=("<ours>: trials that failed: 2 nan",)))
    assert r"- \<ours>: trials that failed" in text
    assert not re.search(r"(?<!\\)<ours>", text)


def test_the_page_of_a_sweep_that_has_not_begun(untouched: Searched) -> None:
    assert "No trial has finished yet." in untouched.page()
