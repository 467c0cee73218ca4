"""Files of a run that were damaged or lost: noticed, set aside, told, and redone, with the same results as ever."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import RunMaker, outcome, stopped_at

from mtlab.errors import UserError
from mtlab.runs import checkpoints
from mtlab.training import finish, loop, worker
from mtlab.training.init_from import load_initial_weights
from mtlab.training.worker import train

LAST, BEST = Path("checkpoints/last.safetensors"), Path("checkpoints/best.safetensors")
METRICS, TRACE = Path("metrics.jsonl"), Path("trace.safetensors")


def flip(path: Path, share: float = 0.5) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[int(share * (len(data) - 1))] ^= 1
    path.write_bytes(data)


def add_metadata(path: Path, more: dict[str, Any]) -> None:
    """Write an intact checkpoint anew, with further metadata."""
    tensors, metadata = checkpoints.load(path)
    checkpoints.save(path, tensors, metadata | more)


DAMAGE: dict[str, tuple[Path, Callable[[Path], None]]] = {
    "last, a bit": (LAST, flip),
    "last, cut": (LAST, lambda path: path.write_bytes(path.read_bytes()[:-10])),
    "last, lost": (LAST, Path.unlink),
    "best, a bit": (BEST, flip),
    "best, cut": (BEST, lambda path: path.write_bytes(path.read_bytes()[:-5])),
    "best, lost": (BEST, Path.unlink),
    "best, another's": (BEST, lambda path: checkpoints.save(path, {"a": torch.ones(1)}, {"step": 8, "value": 1.0})),
    "last, of another version": (LAST, lambda path: add_metadata(path, {"momentum": 0.5})),
    "best, another's without a step": (BEST, lambda path: checkpoints.save(path, {"a": torch.ones(1)}, {"value": 1.0})),
    "metrics, a bit": (METRICS, flip),
    "metrics, lost": (METRICS, Path.unlink),
    "metrics, cut": (METRICS, lambda path: path.write_bytes(path.read_bytes()[:-30])),
    "trace, a bit": (TRACE, flip),
    "trace, lost": (TRACE, Path.unlink),
}


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Any]:
    """What an undisturbed run of `make_run()` gave, once a test has made it."""
    return {}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_between_two_attempts_changes_no_result(
    damage: str,
    make_run: RunMaker,
    undisturbed: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not undisturbed:
        whole = make_run("whole")
        train(whole)
        undisturbed |= outcome(whole)
    broken = make_run("broken")
    assert stopped_at(broken, 20) == 143
    capsys.readouterr()
    name, strike = DAMAGE[damage]
    strike(broken / name)
    assert train(broken) == 0
    said, lost = capsys.readouterr().out, "lost" in damage
    assert outcome(broken) == undisturbed
    asides = list((broken / name).parent.glob(f"{name.name}.corrupt-*"))
    assert len(asides) == (not lost and "another's" not in damage)
    assert all(aside.name in said for aside in asides)
    if damage != "last, lost":  # as if nothing had been done yet
        assert any(word in said for word in ("set aside", "lost", "damaged"))


def test_metrics_that_are_damaged_while_it_trains_are_put_right(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = make_run("whole"), make_run("broken")
    train(whole)
    real = loop.train_step

    def stepping(*args: Any, **kwargs: Any) -> torch.Tensor:
        if kwargs["step"] == 22:
            flip(broken / METRICS)
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, "train_step", stepping)
    assert train(broken) == 0
    assert "metrics.jsonl was damaged" in capsys.readouterr().out
    assert outcome(broken) == outcome(whole)


def test_a_best_checkpoint_that_is_damaged_before_it_is_evaluated_is_trained_anew(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = make_run("whole"), make_run("broken")
    train(whole)
    real, struck = finish.finish, []

    def finishing(*args: Any) -> dict[str, Any]:
        if not struck:
            struck.append(True)
            flip(broken / BEST)
        return real(*args)

    monkeypatch.setattr(worker, "finish", finishing)
    assert train(broken) == 0
    assert "best.safetensors has changed" in capsys.readouterr().out
    assert outcome(broken) == outcome(whole)


def test_a_damaged_parent_is_refused(make_run: RunMaker) -> None:
    run = make_run()
    train(run)
    flip(run / BEST, 0.9)
    with pytest.raises(UserError, match=r"has changed since .*`mtlab clean --yes` sets"):
        load_initial_weights(torch.nn.Linear(1, 1), run / BEST)  # type: ignore[arg-type]
    (run / BEST).unlink()
    with pytest.raises(UserError, match="is lost: `mtlab clean --yes` sets"):
        load_initial_weights(torch.nn.Linear(1, 1), run / BEST)  # type: ignore[arg-type]


def test_a_finished_run_is_on_the_disk_before_it_is_called_finished(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut, a run with a result has all of what its checksums name: each file was flushed as it is."""
    flushed: dict[int, int] = {}  # inode → size
    known_before_result: set[int] = set()
    real_flush, real_rename = os.fsync, os.replace

    def flush(descriptor: int) -> None:
        real_flush(descriptor)
        found = os.fstat(descriptor)
        flushed[found.st_ino] = found.st_size

    def rename(source: Path, target: Path) -> None:
        if Path(target).name == "result.json":
            known_before_result.update(flushed)
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    folder = make_run()
    assert train(folder) == 0
    names = json.loads((folder / "checksums.json").read_text()).keys() - {
        "checksum",
        "config.json",
    }  # this test wrote the latter
    covered = [folder / name for name in sorted(names)]
    assert folder / METRICS in covered
    late = [path.name for path in covered if path.stat().st_ino not in known_before_result]
    assert late == []
    changed = [path.name for path in covered if flushed[path.stat().st_ino] != path.stat().st_size]
    assert changed == []
