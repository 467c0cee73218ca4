"""Every shipped sweep is planned, without weights and without a network."""

from pathlib import Path
from typing import Any

import pytest
from imagined import free
from offline import no_network  # noqa: F401 - a fixture
from packages import need_clip_art

from mtlab.config.load import compose, recipe_folders, sweep_recipe_folders
from mtlab.sweeps.plan import to_json
from mtlab.sweeps.spec import read_sweep
from mtlab.sweeps.variants import PreparedSweep, prepare

FILES = sorted(sweep_recipe_folders()[0].glob("*.yaml"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def planned(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MTLAB_CACHE", str(cache))

    def plan(name: str) -> PreparedSweep:
        return prepare(read_sweep(next(path for path in FILES if path.stem == name)), free)

    return plan


def case(name: str) -> Any:
    """Mark what reads thousands of drawings."""
    return pytest.param(name, marks=[pytest.mark.slow] if name == "managers_clipart" else [])


@pytest.mark.parametrize("name", [case(path.stem) for path in FILES])
def test_a_sweep_is_planned_and_says_what_it_asks(name: str, planned: Any) -> None:
    if name == "managers_clipart":
        need_clip_art()
    prepared = planned(name)
    data = to_json(prepared)
    assert data["why"]
    assert data["study"] == f"sweep-{name.replace('_', '-')}"
    assert data["baseline"].partition(" · ")[0] == "bridge"
    assert not [remark for each in prepared.variants for remark in each.remarks]
    trials, startup = data["budget"]["trials"], data["sampler"].get("n_startup_trials", 0)
    assert startup < trials / 2 or trials == len(prepared.sweep.start_from), "most trials should know of others"


def test_their_names_are_no_study_s() -> None:
    studies = {compose(path).data.get("name") for folder in recipe_folders() for path in folder.rglob("*.yaml")}
    assert not studies & {compose(path).data["name"] for path in FILES}


def test_quick_is_as_small_as_it_says(planned: Any) -> None:
    prepared = planned("quick")
    assert (len(prepared.variants), prepared.sweep.keys.budget.trials, prepared.sweep.seeds.n) == (3, 8, 1)
    assert prepared.sweep.final is not None
    assert prepared.sweep.final.seeds == 2


def test_the_comparison_of_managers_searches_the_same_around_each(planned: Any) -> None:
    prepared = planned("managers")
    assert {tuple(one.path for one in each.space) for each in prepared.variants} == {("train.lr",)}
    assert len(prepared.sweep.start_from) == prepared.sweep.keys.budget.trials == 3


def test_cost_and_accuracy_have_a_front(planned: Any) -> None:
    sweep = planned("cost_accuracy").sweep
    assert [(each.metric, each.mode) for each in sweep.objectives] == [("val/accuracy", "max"), ("cost/flops", "min")]
    assert sweep.final.retrain == "front"
