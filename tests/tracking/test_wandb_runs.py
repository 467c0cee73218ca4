"""What the W&B tracker makes of single runs, without W&B: those that it refuses, and media that come late."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtlab.errors import UserError
from mtlab.tracking.base import TrackedRun, TrackerTable, UnreachableError
from mtlab.tracking.trackers.weights_and_biases import WandbSink

wandb = pytest.importorskip("wandb")
Init = Callable[[Callable[..., Any]], None]  #: the fixture `init`
ABOUT = TrackedRun("1" * 24, "study", "static, seed 0", "run")
TABLE = {"layers/table": TrackerTable(("level", "worth"), [[1, 0.5]])}


class Kept:
    """A run as W&B keeps it: a step that it has is not taken again."""

    def __init__(self, history: dict[int, dict[str, Any]]) -> None:
        self.history = history
        self.starting_step = max(history, default=-1) + 1

    def define_metric(self, *_: object, **__: object) -> None:
        pass

    def log(self, values: dict[str, Any], step: int, *, commit: bool) -> None:
        assert commit
        self.history.setdefault(step, values)


def make_sink(tmp_path: Path) -> WandbSink:
    return WandbSink(WandbSink.Config(mode="online"), tmp_path / "studies" / "study")


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch) -> Init:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return lambda call: monkeypatch.setattr(wandb, "init", call)


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ("run me/x was previously created and deleted; try a new run name (<Response [409]>)", UserError),
        ("connection refused", UnreachableError),
    ],
)
def test_a_run_that_was_deleted_there_fails_alone(
    tmp_path: Path, init: Init, problem: str, kind: type[BaseException]
) -> None:
    def refuse(**_: object) -> None:
        raise wandb.errors.CommError(f"Error while calling W&B API: {problem}")

    init(refuse)
    with pytest.raises(kind) as raised:
        make_sink(tmp_path).tracker().start(ABOUT)
    assert ("track sync study --project NAME" in str(raised.value)) == (kind is UserError)


def test_media_that_come_late_are_sent_after_the_last_step(tmp_path: Path, init: Init) -> None:
    history: dict[int, dict[str, Any]] = {}
    init(lambda **_: Kept(history))
    for media in ({}, TABLE):
        tracker = make_sink(tmp_path).tracker()
        tracker.start(ABOUT)
        tracker.log(0, {"train/loss": 2.0}, {})
        tracker.log(5, {"train/loss": 1.0}, media)
    assert list(history) == [0, 5, 6]
    assert history[5] == {"step": 5, "train/loss": 1.0}
    assert set(history[6]) == {"step", "layers/table"}
