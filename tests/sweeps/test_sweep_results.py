"""What comes of a sweep: limits, fronts, its report, and its winners as an ablation that is the same cells."""

import json
from pathlib import Path
from typing import Any

import pytest
from calling import here
from imagined import SWEEP, Opened, free, train, write_sweep

from mtlab import files
from mtlab.errors import UserError
from mtlab.launch.launcher import LaunchOutcome
from mtlab.report import sweep_report
from mtlab.report.formats import sweep_tables
from mtlab.runs.store import final_name
from mtlab.studies.plan import make_plan, run_configs, to_json
from mtlab.studies.spec import read_study
from mtlab.sweeps.plan import store_plan
from mtlab.sweeps.run import SweepOutcome
from mtlab.sweeps.spec import FinalRules
from mtlab.sweeps.stored import open_sweep as reading
from mtlab.sweeps.trials import trial_runs
from mtlab.sweeps.winners import to_yaml, winners, winners_study

TEXT = """
why: Which is better, each tuned alike?
over: {manager: [bridge, {name: static, label: ours}]}
baseline: {manager: bridge}
space:
  train.lr: {float: [1e-4, 1e-1], log: true}
  manager: default
  text.layers: {choice: [all, [1, 3]]}
  model.cross_layers: {int: [1, 3]}
  train.power: {float: [0.5, 2.0], when: {model.cross_layers: 3}}
sampler: {name: random, seed: 4}
budget: {trials: 5}
set: {train: {decay: linear, clip: 0.5}}
resources: {hours: 2}
finally: {seeds: 3}
"""
TWO = "objective: [val/accuracy, cost/params]"


def searched(folder: Path, text: str = TEXT, **behaviour: Any) -> Opened:
    folder.mkdir(exist_ok=True)
    opened = Opened(write_sweep(folder, text), folder / "runs")
    opened.search(**behaviour)
    return opened


def described(opened: Opened) -> sweep_report.SweepReport:
    plan = opened.store.plan("hunt")
    with reading(opened.store, plan) as (_, found):
        return sweep_report.build_sweep_report(opened.store, plan, found)


def winning(opened: Opened, folder: Path, name: str = "x", retrain: str = "best", seeds: Any = 3) -> Path:
    plan = opened.store.plan("hunt")
    with reading(opened.store, plan) as (_, found):
        chosen = winners(found, retrain)
    path = folder / f"{name}.yaml"
    path.write_text(to_yaml(winners_study(plan, chosen, name=name, final=FinalRules(seeds=seeds)), plan, chosen))
    return path


def test_the_winners_are_an_ablation_of_the_same_cells_on_fresh_seeds(tmp_path: Path) -> None:
    opened = searched(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    made = make_plan(read_study(winning(opened, tmp_path / "elsewhere")), free)
    best = [search.study.best_trial for search in opened.searches]
    assert [cell.id for cell in made.cells] == [each.user_attrs["cell"] for each in best]
    assert [cell.row.label for cell in made.cells] == ["bridge", "ours"]
    assert [cell.row.compare_to for cell in made.cells] == [None, 0]
    assert made.study.seeds == (1000, 1001, 1002)
    assert made.study.keys.metrics.verdict == "test/accuracy"
    assert made.study.keys.resources.hours == 2
    trials = {run["id"] for run in opened.store.plan("hunt")["runs"]}
    assert not trials & {run.id for run in made.runs}


def test_winners_of_a_grid_are_compared_as_the_cells_of_an_ablation(tmp_path: Path) -> None:
    grid = "{manager: [bridge, static], model.cross_layers: [1, 2]}\nbaseline: {manager: bridge}"
    text = f"over: {grid}\nspace: {{train.lr: {{float: [1e-3, 1e-2], log: true}}}}\nbudget: {{trials: 1}}"
    opened = searched(tmp_path, text)
    cells = make_plan(read_study(winning(opened, tmp_path)), free).cells
    against = {
        cell.row.label: None if cell.row.compare_to is None else cells[cell.row.compare_to].row.label for cell in cells
    }
    assert against == {
        "bridge · cross_layers 1": None,
        "bridge · cross_layers 2": None,
        "static · cross_layers 1": "bridge · cross_layers 1",
        "static · cross_layers 2": "bridge · cross_layers 2",
    }
    assert [row.baseline for row in described(opened).rows] == [True, True, False, False]


@pytest.mark.parametrize("first", ["", "bridge, "])
def test_variants_that_win_with_the_same_settings_are_one_row(tmp_path: Path, first: str) -> None:
    text = f"over: {{manager: [{first}static, {{name: static, weight: scalar, label: scalar}}]}}"
    start = (
        "manager.weight: scalar, manager.start: uniform, manager.temperature: 1.0, manager.noise: 0.0, train.lr: 1e-3"
    )
    text += (
        f"\nbaseline: {{manager: {'bridge' if first else 'static'}}}\nstart_from: {{{start}}}\nbudget: {{trials: 1}}"
    )
    opened = searched(tmp_path, f"{text}\nspace: {{manager: default, train.lr: {{choice: [1e-3, 2e-3]}}}}")
    path = winning(opened, tmp_path, seeds={"until": "decided", "min": 2, "max": 4})
    assert "# static and scalar won with the same settings: they are one row.\n" in path.read_text()
    made = make_plan(read_study(path), free)
    rows = [(cell.row.label, cell.row.compare_to) for cell in made.cells]
    assert rows == ([("bridge", None), ("static = scalar", 0)] if first else [("static = scalar", None)])
    assert len(made.study.seeds) == (4 if first else 2), "of one row nothing is to be decided"


def test_a_winner_keeps_a_searched_null(tmp_path: Path) -> None:
    text = "space: {train.clip: {choice: [null, 1.0]}}\nstart_from: {train.clip: null}\nbudget: {trials: 1}"
    opened = searched(tmp_path, text)
    made = make_plan(read_study(winning(opened, tmp_path)), free)
    assert [cell.id for cell in made.cells] == [opened.searches[0].study.best_trial.user_attrs["cell"]]
    assert made.cells[0].config["train"]["clip"] is None


@pytest.mark.parametrize(
    "over", ["{system: {zip: {manager.weight: [scalar], manager: [static]}}}", "{train.length.epochs: [2]}"]
)
def test_a_winner_keeps_what_is_set_within_what_varies_whole(over: str, tmp_path: Path) -> None:
    text = f"over: {over}\nspace: {{train.lr: {{float: [1e-3, 1e-2]}}}}\nbudget: {{trials: 1}}"
    opened = searched(tmp_path, text)
    made = make_plan(read_study(winning(opened, tmp_path)), free)
    assert [cell.id for cell in made.cells] == [opened.searches[0].study.best_trial.user_attrs["cell"]]


@pytest.mark.parametrize(
    "text",
    [
        "over: {init_from: [null, {study: first}]}\nspace: {train.lr: {float: [1e-3, 1e-2]}}",
        "set: {init_from: {study: first.yaml}}\nspace: {train.lr: {float: [1e-3, 1e-2]}}",
        "space: {init_from: {choice: [null, {study: first}]}}\nstart_from: {init_from: {study: first}}",
    ],
)
def test_a_winner_starts_from_the_study_beside_the_sweep(tmp_path: Path, text: str) -> None:
    path = write_sweep(tmp_path, f"{text}\nbudget: {{trials: 1}}")
    first = SWEEP.format(name="first").replace("kind: sweep", "kind: ablation\nseeds: 1")
    (tmp_path / "first.yaml").write_text(first)
    opened = Opened(path, tmp_path / "runs")
    opened.search()
    (tmp_path / "elsewhere").mkdir()
    made = make_plan(read_study(winning(opened, tmp_path / "elsewhere")), free)
    best = [search.study.best_trial.user_attrs["cell"] for search in opened.searches]
    assert [cell.id for cell in made.cells] == best
    assert made.cells[-1].parent is not None


def test_a_winner_starts_from_its_own_parent_of_several(tmp_path: Path) -> None:
    """Its settings are written in full, those of the parents are not, and two of them have one manager."""
    zipped = "{manager: [bridge, static, static], text.layers: [[2, 3], all, [2, 3]]}"
    system = f"system: {{zip: {zipped}, labels: [bridge, all, top]}}"
    over = f"over: {{{system}, init_from: [null, {{study: first}}]}}"
    path = write_sweep(tmp_path, f"{over}\nspace: {{train.lr: {{float: [1e-3, 1e-2]}}}}\nbudget: {{trials: 1}}")
    path.write_text(path.read_text().replace("depth: 3, width: 16, layers: all", "depth: 3, width: 16", 1))
    first = SWEEP.format(name="first").replace("kind: sweep", f"kind: ablation\nseeds: 1\naxes: {{{system}}}")
    (tmp_path / "first.yaml").write_text(first.replace("depth: 3, width: 16, layers: all", "depth: 3, width: 16", 1))
    opened = Opened(path, tmp_path / "runs")
    opened.search()
    made = make_plan(read_study(winning(opened, tmp_path)), free)
    parents = {cell.row.label: cell.parent.row.label for cell in made.cells if cell.parent is not None}
    assert list(parents.values()) == ["bridge", "all", "top"]
    assert all(parent in label.split(" · ") for label, parent in parents.items())


@pytest.mark.parametrize("path", ["train.lr", "manager.temperature"])  # the manager is the default one
def test_a_sweep_without_variants_has_one_winner(path: str, tmp_path: Path) -> None:
    text = f"space: {{{path}: {{float: [1e-4, 1e-1], log: true}}}}\nbudget: {{trials: 2}}"
    opened = searched(tmp_path, text)
    made = make_plan(read_study(winning(opened, tmp_path)), free)
    assert [cell.id for cell in made.cells] == [opened.searches[0].study.best_trial.user_attrs["cell"]]


def test_the_report_shows_equal_budgets_best_settings_and_what_came_of_them(tmp_path: Path) -> None:
    opened = searched(tmp_path)
    report = described(opened)
    assert [row.ended for row in report.rows] == [5, 5]
    for row, search in zip(report.rows, opened.searches, strict=True):
        best = search.study.best_trial
        assert row.best is not None
        assert (row.best.number, row.best.values) == (best.number, (best.value,))
        assert row.best.seeds == {0: (best.value,)}
    assert report.final is None
    assert "test/" not in json.dumps(report.to_dict()["variants"])
    final = make_plan(read_study(winning(opened, tmp_path, final_name("hunt"))), free)
    opened.store.write_plan(final.study.name, to_json(final))
    for run, config in run_configs(final).items():
        train(opened.store.create_run(run, config), {})
    report = described(opened)
    assert report.final is not None
    assert [row.n for row in report.final.rows] == [3, 3]
    text = sweep_tables.sweep_markdown(report)
    assert "| bridge | 5/5 |" in text
    assert "## Tuned against tuned" in text
    assert json.loads(report.to_json())["final"]["metric"] == "test/accuracy"


def test_a_report_on_a_read_only_store_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(path: Path, _: str) -> None:
        raise files.ReadOnlyError("cannot be written: the file system is read-only", file=path)

    opened = searched(tmp_path, "space: {train.lr: {float: [1e-4, 1e-1], log: true}}\nbudget: {trials: 2}")
    monkeypatch.setattr(files, "write_text", read_only)
    code, shown, note = here(monkeypatch, capsys)("sweep", "report", "hunt", "--store", opened.store.root)
    assert (code, "2/2" in shown, "written to" in shown) == (0, True, False)
    assert note.startswith("note: not written: ")


def test_a_plan_with_other_settings_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = searched(tmp_path, TEXT.replace("trials: 5", "trials: 2"))
    path = opened.store.study("hunt") / "plan.json"
    before = path.read_text()
    (tmp_path / "copy").mkdir()
    copy = write_sweep(tmp_path / "copy", f"{TEXT}\n# another file")
    for file, store, options in (
        (opened.prepared.sweep.path, opened.store.root, ()),
        (copy, opened.store.root, ("--replace",)),
        (copy, tmp_path / "fresh", ()),
    ):
        words = ("sweep", "plan", file, "study.budget.trials=7", "--store", store, *options)
        code, shown, _ = here(monkeypatch, capsys)(*words)
        assert code == 0
        assert "budget: 7 trials of each variant" in shown
        assert "not written: with KEY=VALUE a plan is a trial; `mtlab sweep` with these settings writes hunt" in shown
        assert path.read_text() == before
    assert not (tmp_path / "fresh" / "studies").exists()


def test_launchers_with_older_files_leave_budget_and_variants_as_the_newest_has_set_them(tmp_path: Path) -> None:
    older = Opened(write_sweep(tmp_path, TEXT.replace("trials: 5", "trials: 2")), tmp_path / "runs")
    with older.storage.exclusive():
        theirs = store_plan(older.prepared, older.storage, older.store)
    newer = Opened(write_sweep(tmp_path, TEXT.replace("trials: 5", "trials: 3")), tmp_path / "runs")
    with newer.storage.exclusive():
        store_plan(newer.prepared, newer.storage, newer.store)
    settings = {"train.lr": 1e-3, "text.layers": "all", "model.cross_layers": 1}
    theirs.add(trial_runs(older.prepared, older.prepared.variants[0], 0, settings))
    stored = older.store.plan("hunt")
    assert (stored["budget"]["trials"], len(stored["rows"])) == (3, 1)


@pytest.mark.parametrize("loss", ["damaged", "lost", "replaced"])
def test_a_plan_that_is_written_anew_has_the_trials_of_its_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], loss: str
) -> None:
    opened = searched(tmp_path, TEXT.replace("trials: 5", "trials: 2"))
    before, path = opened.store.plan("hunt"), opened.store.study("hunt") / "plan.json"
    file, options = opened.prepared.sweep.path, []
    if loss == "damaged":
        path.write_text(path.read_text().replace("trial 1", "trial 9"))
        with pytest.raises(UserError, match="`mtlab sweep plan FILE` that of a sweep"):
            opened.store.plan("hunt")
    elif loss == "lost":
        path.unlink()
    else:
        (tmp_path / "copy").mkdir()
        file, options = write_sweep(tmp_path / "copy", f"{TEXT}\n# another file"), ["--replace"]
    code, _, problem = here(monkeypatch, capsys)("sweep", "plan", file, "--store", opened.store.root, *options)
    assert (code, problem) == (0, "")
    after = opened.store.plan("hunt")
    assert len(before["rows"]) == 4
    assert {run["id"] for run in after["runs"]} == {run["id"] for run in before["runs"]}
    labels = [[(row["cell"], row["label"], row["axes"]) for row in plan["rows"]] for plan in (before, after)]
    assert sorted(labels[0]) == sorted(labels[1])


def test_unequal_searches_are_told(tmp_path: Path) -> None:
    opened = Opened(write_sweep(tmp_path, TEXT), tmp_path / "runs")
    opened.search(3)
    assert described(opened).notes[0] == "the variants have not had the same number of trials yet: bridge 2, ours 1"


def test_a_cost_that_is_known_before_is_refused_untrained_and_costs_no_budget(tmp_path: Path) -> None:
    opened = searched(tmp_path, f"{TEXT}\nconstraints: {{cost/params: {{max: 200}}}}")
    for search in opened.searches:
        standing = search.status()
        assert standing.counts["done"] == standing.started == 5
        assert standing.counts["refused"] == standing.proposed - 5 > 0
        for trial in search.study.trials:
            refused = trial.params["model.cross_layers"] > 2
            assert refused == ("refused" in trial.user_attrs) == (trial.state.name == "PRUNED")
            if refused:
                assert trial.user_attrs["refused"] == "cost/params is 300, not ≤ 200"
                assert trial.constraints == {"cost/params": 100.0}
    assert "Only trials with cost/params ≤ 200 may win." in sweep_tables.sweep_caption(described(opened))


def test_a_sampler_that_learns_nothing_from_refusals_is_not_stuck_with_them(tmp_path: Path) -> None:
    space = "space: {train.lr: {float: [1e-4, 1e-1], log: true}, model.cross_layers: {int: [1, 3]}}"
    text = f"{space}\nsampler: {{name: gp, n_startup_trials: 1}}\nbudget: {{trials: 5}}"
    status = searched(tmp_path, f"{text}\nconstraints: {{cost/params: {{max: 100}}}}").searches[0].status()
    assert (status.given_up, status.counts["done"]) == (False, 5)


def test_what_only_training_tells_rules_a_winner_out(tmp_path: Path) -> None:
    opened = searched(tmp_path, f"{TEXT}\nconstraints: {{val/loss: {{min: 0.2}}}}")
    for row, search in zip(described(opened).rows, opened.searches, strict=True):
        allowed = [each.value for each in search.study.trials if 1 - each.value >= 0.2]
        assert row.best is not None
        assert row.best.values == (max(allowed),)
    none = searched(tmp_path / "none", f"{TEXT}\nconstraints: {{val/loss: {{min: 2}}}}")
    assert [row.best for row in described(none).rows] == [None, None]
    with pytest.raises(UserError, match=r"bridge has no finished trial that could win \(trials: 5 done\)"):
        winning(none, tmp_path)


def test_settings_that_do_not_go_together_are_refused_and_a_variant_may_be_given_up(tmp_path: Path) -> None:
    text = "space: {model.width: {int: [16, 32]}, model.heads: {int: [4, 8], step: 4}}\nbudget: {trials: 2}"
    opened = searched(tmp_path, f"{text}\nset: {{model: {{cross_layers: 1}}}}")
    assert opened.searches[0].status().started == 2
    refused = [each.user_attrs["refused"] for each in opened.searches[0].study.trials if each.state.name == "PRUNED"]
    assert refused
    assert all(line.startswith("model.heads:") for line in refused)
    lost = searched(tmp_path / "lost", f"{TEXT}\nconstraints: {{cost/params: {{max: 1}}}}")
    statuses = tuple(search.status() for search in lost.searches)
    assert all(status.given_up and status.complete for status in statuses)
    assert SweepOutcome(LaunchOutcome((), {}, (), (), interrupted=False), statuses, 0).exit_code == 1
    assert "bridge: given up after 50 proposals" in described(lost).notes[0]


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    opened = searched(tmp_path, f"{TEXT}\n{TWO}")
    for row, search in zip(described(opened).rows, opened.searches, strict=True):
        front = search.study.best_trials
        assert {each.number for each in row.front} == {each.number for each in front}
        assert row.best is not None
        assert row.best.values[0] == max(each.values[0] for each in search.study.trials)
        params = {each.params["model.cross_layers"] * 100.0 for each in front}
        assert {each.values[1] for each in row.front} == params
    made = make_plan(read_study(winning(opened, tmp_path, retrain="front")), free)
    fronts = [each.user_attrs["cell"] for search in opened.searches for each in search.study.best_trials]
    assert sorted(cell.id for cell in made.cells) == sorted(fronts)
    assert "What no other trial of its variant beats" in sweep_tables.sweep_markdown(described(opened))


def test_trials_of_one_cell_stand_once_on_a_front(tmp_path: Path) -> None:
    space = "space: {model.cross_layers: {choice: [1, 2]}}\nsampler: random\nbudget: {trials: 6}"
    opened = searched(tmp_path, f"{space}\n{TWO}")
    front = opened.searches[0].study.best_trials
    cells = {each.user_attrs["cell"] for each in front}
    assert len(cells) < len(front)
    assert {each.cell for each in described(opened).rows[0].front} == cells
    made = make_plan(read_study(winning(opened, tmp_path, retrain="front")), free)
    assert {cell.id for cell in made.cells} == cells


def test_training_hours_end_a_search(tmp_path: Path) -> None:
    opened = searched(tmp_path, f"{TEXT}\nseeds: 2")
    assert opened.searches[0].status().seconds == pytest.approx(6.0)
    text = TEXT.replace("budget: {trials: 5}", f"budget: {{trials: 5, hours: {2.5 / 3600}}}")
    short = searched(tmp_path / "short", f"{text}\nseeds: 2")
    assert [search.status().ended for search in short.searches] == [3, 3]
    assert "its 0.000694444 training hours ended after 3 trials" in described(short).notes[0]


def test_a_trial_that_goes_on_with_the_runs_of_another_counts_no_hours_twice(tmp_path: Path) -> None:
    opened = searched(tmp_path, "space: {train.lr: {float: [1e-4, 1e-1]}}\nbudget: {trials: 2}", **{"bug at": 5})
    opened.search()
    assert opened.searches[0].status().counts == {"done": 2, "tried again": 2}
    assert opened.searches[0].status().seconds == pytest.approx(1.2)
    text = "space: {model.cross_layers: {choice: [1, 2]}}\nsampler: random\nbudget: {trials: 6}"
    known = searched(tmp_path / "known", text)
    assert known.searches[0].status().seconds == pytest.approx(1.2)


def test_another_space_under_the_same_name_is_refused_and_nothing_begun(tmp_path: Path) -> None:
    searched(tmp_path)
    changes = {
        "float: [1e-4, 1e-1]": (
            "float: [1e-3, 1e-1]",
            "name: the search of bridge was begun with another space.train.lr: float [0.0001, 0.1], log yes, now float",
        ),
        "clip: 0.5": ("clip: 0.7", "name: the search of bridge was begun with another train.clip: 0.5, now 0.7"),
        "seed: 4": ("seed: 5", "name: the search of bridge was begun with another sampler.seed: 4, now 5"),
        "over: {manager: [bridge,": (
            f"{TWO}\nover: {{manager: [mean, bridge,",
            "name: the search of bridge was begun with another objectives: [metric val/accuracy, mode max], now",
        ),
    }
    for before, (after, message) in changes.items():
        path = write_sweep(tmp_path, TEXT.replace(before, after))
        with pytest.raises(UserError) as caught:
            Opened(path, tmp_path / "runs")
        assert message in str(caught.value)
    names = Opened(write_sweep(tmp_path, TEXT), tmp_path / "runs").storage.optuna_storage.get_all_studies()
    assert [each.study_name for each in names] == ["hunt / bridge", "hunt / ours"]
