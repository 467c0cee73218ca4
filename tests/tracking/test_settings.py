"""What a study may say about trackers."""

from pathlib import Path

import pytest
from tracked_study import STUDY

from mtlab.config.check import check_config
from mtlab.errors import UserError
from mtlab.report.sync.process import tracking_settings
from mtlab.studies.cost_cache import CostCache
from mtlab.studies.plan import make_plan, to_json
from mtlab.studies.spec import read_study
from mtlab.tracking.settings import TrackingSettings, WandbSettings

BARE = STUDY.partition("tracking:")[0]


def plan(folder: Path, text: str, *overrides: str) -> dict[str, object]:
    (folder / "study.yaml").write_text(text)
    return to_json(make_plan(read_study(folder / "study.yaml", overrides), CostCache(folder / "costs.json")))


def test_off_unless_written_and_offline_unless_online(tmp_path: Path) -> None:
    assert tracking_settings(plan(tmp_path, BARE)).wandb is None
    assert tracking_settings({"study": "from before there were trackers"}).wandb is None
    assert check_config(TrackingSettings, {"wandb": {}}).wandb == WandbSettings(mode="offline")
    written = tracking_settings(plan(tmp_path, STUDY)).wandb
    assert written == WandbSettings(project="layers", tags=["test"], images=False)
    online = tracking_settings(plan(tmp_path, STUDY, "study.tracking.wandb.mode=online")).wandb
    assert online is not None
    assert online.mode == "online"


def test_it_is_no_part_of_a_runs_identity(tmp_path: Path) -> None:
    with_it, without = plan(tmp_path, STUDY), plan(tmp_path, BARE)
    assert [run["id"] for run in with_it["runs"]] == [run["id"] for run in without["runs"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{wandb: {projct: a}}", "tracking.wandb.projct: unknown key; did you mean 'project'?"),
        ("{wandbs: {}}", "tracking.wandbs: unknown key; did you mean 'wandb'?"),
        ("{wandb: {mode: live}}", "is not one of offline, online"),
        ("{wandb: {project: a/b}}", "tracking.wandb.project: a W&B project's name has no /"),
        ("{wandb: {tags: ['']}}", "tracking.wandb.tags: '': a W&B tag has 1 to 64 letters"),
        ("{wandb: offline}", "tracking.wandb: expected a mapping, found the word 'offline'"),
    ],
)
def test_mistakes_are_told_with_file_and_key(tmp_path: Path, given: str, words: str) -> None:
    with pytest.raises(UserError) as told:
        plan(tmp_path, f"{BARE}tracking: {given}\n")
    assert words in str(told.value)
    assert "study.yaml" in str(told.value)


def test_the_environment_names_what_the_study_leaves_open_and_may_hold_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    assert WandbSettings(mode="online").filled() == WandbSettings(mode="online", project="mtlab")
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    assert WandbSettings(project="mine").filled() == WandbSettings(project="mine", entity="team")
    assert WandbSettings().filled().project == "theirs"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert WandbSettings().filled().mode == "offline"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert WandbSettings(mode="online").filled().mode == "offline"
