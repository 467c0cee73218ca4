"""What a study may say about trackers."""

import sys
from pathlib import Path

import pytest
from tracked_study import STUDY

from mtlab.config.plugins import import_plugins
from mtlab.errors import UserError
from mtlab.studies.plan import make_plan, to_json
from mtlab.studies.spec import read_study
from mtlab.tracking.base import TRACKERS
from mtlab.tracking.settings import check_tracking, stored_tracking
from mtlab.tracking.trackers.weights_and_biases import WandbSink

WandbSettings = WandbSink.Config

BARE = STUDY.partition("tracking:")[0]


def plan(folder: Path, text: str, *overrides: str) -> dict[str, object]:
    (folder / "study.yaml").write_text(text)
    return to_json(make_plan(read_study(folder / "study.yaml", overrides)))


def test_off_unless_written_and_offline_unless_online(tmp_path: Path) -> None:
    assert stored_tracking(plan(tmp_path, BARE)) == {}
    assert stored_tracking({"tracking": {"wandb": None}}) == {}
    assert check_tracking({"wandb": {}}) == {"wandb": WandbSettings(mode="offline")}
    written = stored_tracking(plan(tmp_path, STUDY))
    assert written == {"wandb": WandbSettings(project="layers", tags=["test"], images=False)}
    online = stored_tracking(plan(tmp_path, STUDY, "study.tracking.wandb.mode=online"))
    assert online["wandb"].mode == "online"
    assert stored_tracking(plan(tmp_path, STUDY, "study.tracking.wandb=null")) == {}


def test_several_at_once(tmp_path: Path) -> None:
    given = stored_tracking(plan(tmp_path, f"{BARE}tracking: {{wandb: {{}}, tensorboard: {{folder: /tmp/board}}}}\n"))
    assert list(given) == ["wandb", "tensorboard"]
    assert given["tensorboard"].folder == "/tmp/board"
    assert {"mlflow", "tensorboard", "trackio", "wandb"} <= {entry.name for entry in TRACKERS}


PLUGIN = """
from dataclasses import dataclass
from mtlab.tracking.base import Sink, register_tracker

@register_tracker("postcards")
class Postcards(Sink):
    name = "postcards"

    @dataclass(frozen=True)
    class Config:
        stamp: str = "blue"

    def tracker(self): ...
    def holds(self, receipt): return False
    def place(self, receipt): return "in the post"
"""


def test_a_plug_in_brings_a_tracker_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "postal.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(TRACKERS, "entries", dict(TRACKERS.entries))
    text = f"{BARE}plugins: [postal]\ntracking: {{postcards: {{stamp: red}}}}\n"
    with pytest.raises(UserError, match="unknown tracker 'postcards'"):
        plan(tmp_path, text)
    import_plugins(["postal"], tmp_path)
    made = plan(tmp_path, text)
    monkeypatch.delitem(sys.modules, "postal")  # as in another process, which has the stored plan alone
    monkeypatch.delitem(TRACKERS.entries, "postcards")
    with pytest.raises(UserError, match="postal"):
        stored_tracking(made, plugins=False)
    assert "postal" not in sys.modules
    assert stored_tracking(made)["postcards"].stamp == "red"
    with pytest.raises(UserError, match=r"tracking\.postcards\.stmp: unknown key; did you mean 'stamp'"):
        plan(tmp_path, text.replace("stamp: red", "stmp: red"))


def test_it_is_no_part_of_a_runs_identity(tmp_path: Path) -> None:
    with_it, without = plan(tmp_path, STUDY), plan(tmp_path, BARE)
    assert [run["id"] for run in with_it["runs"]] == [run["id"] for run in without["runs"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{wandb: {projct: a}}", "tracking.wandb.projct: unknown key; did you mean 'project'?"),
        ("{wandbs: {}}", "tracking.wandbs: unknown tracker 'wandbs'; did you mean 'wandb'?"),
        ("wandb", "tracking: expected tracker → options, found 'wandb'"),
        ("{mlflow: {uri: here}}", "tracking.mlflow.uri: 'here': expected http://HOST:PORT, or a database such as"),
        ("{trackio: {project: a/b}}", "tracking.trackio.project: a project's name has letters, digits"),
        ("{wandb: {mode: live}}", "is not one of offline, online"),
        ("{wandb: {project: a/b}}", "tracking.wandb.project: a W&B project's name has no /"),
        ("{wandb: {tags: ['']}}", "tracking.wandb.tags: '': a W&B tag has 1 to 64 letters"),
        ("{wandb: offline}", "tracking.wandb: expected a mapping of options ({} for none), found 'offline'"),
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
