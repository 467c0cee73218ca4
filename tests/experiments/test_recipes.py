"""Every shipped file is planned, without weights and without a network."""

from pathlib import Path
from typing import Any

import pytest
from offline import no_network  # noqa: F401 - a fixture
from packages import LANGUAGE_MODEL, LANGUAGE_MODELS, need_clip_art, need_packages

from mtlab.config import yaml
from mtlab.config.load import compose, recipe_folders
from mtlab.errors import UserError
from mtlab.launch.prepare import refuse_unreadable_data
from mtlab.studies.cell_cost import CellCost
from mtlab.studies.plan import Plan, make_plan, to_json
from mtlab.studies.spec import read_study

FOLDER = recipe_folders()[0]
FILES = sorted(FOLDER.rglob("*.yaml"))
STUDIES = [path for path in FILES if yaml.read(path).data.get("kind", "ablation") == "ablation"]
PRESETS = [path for path in FILES if path not in STUDIES]


def free(config: Any) -> CellCost:
    """Price nothing: what recipes cost is counted elsewhere, and takes time."""
    return CellCost({}, 1, 1.0, 1.0)


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def one_cache(shared_cache: Path, own_folders: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn the shape of each tower once."""
    monkeypatch.setenv("MTLAB_CACHE", str(shared_cache))


def planned(path: Path) -> Plan:
    return make_plan(read_study(path), free)


def case(path: Path) -> Any:
    name = str(path.relative_to(FOLDER))
    # many towers; a tokeniser to convert; thousands of drawings to read
    slow = name == "paper/ablation_backbones.yaml" or path.stem in (*LANGUAGE_MODELS, "clipart_cnn")
    return pytest.param(path, id=name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("path", [case(path) for path in STUDIES])
def test_a_recipe_plans(path: Path) -> None:
    need_packages(*(LANGUAGE_MODEL if path.stem in LANGUAGE_MODELS else ()))
    if path.stem == "clipart_cnn":
        need_clip_art()
    data = to_json(planned(path))
    assert data["why"], "a recipe says which question it answers"
    assert len({row["label"] for row in data["rows"]}) == len(data["rows"])


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_preset_composes(path: Path) -> None:
    assert compose(path).data["set"]


def test_names_of_studies_are_their_own() -> None:
    names = [compose(path).data["name"] for path in STUDIES]
    assert len(set(names)) == len(names)


PUBLISHED = {  # ManagerTower base, 4M: what the paper reports
    "vqav2": {"test/accuracy": 79.39, "test-std": 79.15},
    "snli_ve": {"val/accuracy": 81.26, "test/accuracy": 81.44},
    "nlvr2": {"val/accuracy": 82.81, "test/accuracy": 83.34},
    "flickr30k": {"test/IR@1": 86.56, "test/TR@1": 95.64},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_fine_tuning_starts_from_its_own_pre_training_and_knows_the_published_results(name: str) -> None:
    plan = planned(FOLDER / "paper" / f"{name}.yaml")
    labels = ["METER", "BridgeTower", "ManagerTower"]
    assert [cell.row.label for cell in plan.cells] == labels
    for cell in plan.cells:
        assert cell.parent is not None
        assert cell.parent.row.label == cell.row.label
        assert cell.parent.study == "paper-pretrain"
    published = {entry["label"]: entry for entry in to_json(plan)["published_rows"]}
    assert list(published) == labels
    assert published["ManagerTower"]["values"] | published["ManagerTower"]["also"] == PUBLISHED[name]


def test_a_published_data_set_is_refused_before_anything_is_downloaded() -> None:
    with pytest.raises(UserError, match=r"set\.data: captions4m, snli_ve: .* without the files"):
        refuse_unreadable_data(planned(FOLDER / "paper" / "snli_ve.yaml"))
