"""`mtlab.Study`: a study that Python declares, plans, runs and reports."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tiny_study import write_study

import mtlab
from mtlab.errors import UserError
from mtlab.launch.launcher import LaunchOutcome
from mtlab.workflow import execute
from mtlab.workflow import study as module
from mtlab.workflow.execute import Execution

DECLARED: dict[str, Any] = {
    "name": "declared",
    "why": "Can it be declared in Python?",
    "set": {
        "text": {"name": "tiny_text", "depth": 3, "width": 16, "layers": "all"},
        "vision": {"name": "tiny_vision", "depth": 3, "width": 16, "layers": "all"},
        "data": {"name": "shapes", "train": 16, "val": 8, "test": 8},
        "model": {"width": 16, "heads": 2, "cross_layers": 1, "mlp_ratio": 1},
        "train": {"batch": 8, "length": {"steps": 2}, "eval_every": 1},
    },
    "axes": {"manager": ["bridge", "static"]},
    "seeds": 2,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTLAB_STORE", str(tmp_path / "runs"))
    return tmp_path


def test_a_mapping_and_its_file_are_one_study(folder: Path) -> None:
    declared = mtlab.Study.load(DECLARED)
    assert declared.path == folder / "runs" / "studies" / "declared" / "declared.yaml"
    plan = declared.plan()
    assert plan["label"].to_list() == ["bridge", "bridge", "static", "static"]
    assert set(plan["state"]) == {"new"}
    assert repr(declared) == "<mtlab.Study declared: 4 new>"
    again = mtlab.Study.load(declared.path, ["study.seeds=1"], store=folder / "other")
    assert again.plan()["run"].to_list() == plan["run"].to_list()[::2]
    assert repr(mtlab.Study.load(DECLARED, "study.seeds=1")) == "<mtlab.Study declared: 2 new>"  # one, without a list
    seeds = {"until": "decided", "min": 2, "max": 3}
    looks = mtlab.Study.load(DECLARED | {"name": "looks", "baseline": {"manager": "bridge"}, "seeds": seeds})
    assert repr(looks) == "<mtlab.Study looks: 4 new>"  # as `mtlab plan` has it: those of the first look


def test_the_name_of_another_file_is_taken_over_where_python_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LaunchedError(Exception):
        pass

    def launched(*_: Any, **__: Any) -> None:
        raise LaunchedError

    monkeypatch.setattr(execute, "launch", launched)
    first, second = write_study(folder, "seeds: 1", "a"), write_study(folder, "seeds: 2", "b")
    second.write_text(second.read_text().replace("name: b", "name: a"))
    with pytest.raises(LaunchedError):
        mtlab.Study.load(first).run(quiet=True)
    study = mtlab.Study.load(second)
    with pytest.raises(UserError, match=r"was made from .*: choose another name, .* \(in Python replace=True\)"):
        study.run(quiet=True)
    with pytest.raises(LaunchedError):
        study.run(quiet=True, replace=True)
    assert len(study.store.plan("a")["runs"]) == 2


def test_a_study_stays_what_it_was_loaded_as(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = mtlab.Study.load(DECLARED)
    runs = first.plan()["run"].to_list()
    second = mtlab.Study.load({**DECLARED, "seeds": 1, "set": {**DECLARED["set"], "train": {"batch": 4}}})
    assert first.plan()["run"].to_list() == runs
    assert set(second.plan()["run"]).isdisjoint(runs)
    (folder / "here.yaml").write_text(first.path.read_text())
    (folder / "other").mkdir()
    monkeypatch.chdir(folder)
    relative = mtlab.Study.load("here.yaml", store=folder / "apart")
    monkeypatch.chdir(folder / "other")
    assert relative.plan()["run"].to_list()


def test_a_mapping_that_is_refused_leaves_the_earlier_one(folder: Path) -> None:
    declared = mtlab.Study.load(DECLARED)
    with pytest.raises(UserError, match="statik"):
        mtlab.Study.load({**DECLARED, "axes": {"manager": ["statik"]}})
    assert repr(declared) == "<mtlab.Study declared: 4 new>"
    with pytest.raises(UserError, match="statik"):
        mtlab.Study.load({**DECLARED, "name": "fresh", "axes": {"manager": ["statik"]}})
    assert not list(folder.glob("runs/studies/fresh/declared.yaml"))


def test_a_study_shows_its_own_runs_whatever_else_has_its_name() -> None:
    first, second = (mtlab.Study.load(DECLARED, f"train.lr={rate}") for rate in (1e-3, 1e-5))
    for study in (first, second):
        study.store.write_plan(study.name, study.results.plan)
    for study in (first, second):
        assert study.frame()["run"].to_list() == study.plan()["run"].to_list()
        assert "area" in study.frame().columns
    assert not set(first.frame()["run"]) & set(second.frame()["run"])


@pytest.mark.parametrize(
    ("study", "overrides", "expected"),
    [
        ("quikstart", (), "no recipe of that name; did you mean 'quickstart'?"),
        ({}, (), "needs a name"),
        ({"name": "../up"}, (), "needs a name"),
        (DECLARED | {"axis": {}}, (), "axis: unknown key; did you mean 'axes'?"),
        (DECLARED | {"why": print}, (), "expected plain mappings, lists, texts and numbers"),
        (DECLARED, ("trian.lr=1",), "trian: unknown key; did you mean 'train'?"),
    ],
)
def test_wrong_input_is_one_line(study: Any, overrides: tuple[str, ...], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        mtlab.Study.load(study, overrides)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_interrupted_study_raises_what_ctrl_c_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = LaunchOutcome((), {}, (), (), interrupted=True)
    monkeypatch.setattr(module, "execute_study", lambda *_, **__: Execution({"runs": []}, outcome, None))
    with pytest.raises(KeyboardInterrupt):
        mtlab.Study.load(DECLARED).run()


@pytest.mark.slow
def test_load_run_report_within_a_running_event_loop(capsys: pytest.CaptureFixture[str]) -> None:
    async def in_a_notebook() -> mtlab.Study:
        return mtlab.Study.load(DECLARED).run(quiet=True)

    study = asyncio.run(in_a_notebook())
    assert capsys.readouterr().out == ""
    assert [row.label for row in study.report().rows] == ["bridge", "static"]
    assert set(study.frame()["state"]) == {"done"}
    assert study.layers().height > 0
    assert study.figure("aggregation").data
    with pytest.raises(UserError, match="did you mean 'aggregation'"):
        study.figure("agregation")
    study.run()
    assert "4 runs (4 done)" in capsys.readouterr().out


@pytest.mark.slow
def test_a_failed_run_is_told_after_the_others(folder: Path) -> None:
    file = write_study(folder, "axes: {manager: [bridge], train.lr: [1e-3, 1e30]}\nset: {train.clip: null}\nseeds: 1")
    with pytest.raises(UserError) as caught:
        mtlab.Study.load(file).run(quiet=True, retries=0)
    assert "failed: " in str(caught.value)
    assert "\n" not in str(caught.value)
