import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from patience import wait_for
from tiny_runs import RunMaker, start, stopped_at, train_apart

from mtlab.data.shards.retries import UnreadableError
from mtlab.distributed.process_group import ProcessGroup
from mtlab.distributed.ranks import Ranks
from mtlab.files import DiskError
from mtlab.runs import checkpoints
from mtlab.training import loop, worker
from mtlab.training.worker import train


def test_a_loss_that_is_no_number_fails_as_nan(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(train={"lr": 1e30, "clip": None, "warmup": 0.0})
    assert train(folder) == 3
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["kind"] == "nan"
    assert "loss is" in failure["error"]
    assert failure["attempt"] == 1
    assert not (folder / "result.json").exists()
    assert train(folder) == 3
    assert json.loads((folder / "failure.json").read_text())["attempt"] == 2


@pytest.mark.parametrize(
    ("error", "kind", "code", "said"),
    [
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 GB"),
            "oom",
            3,
            "out of memory (Default",
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), "oom", 3, "out of memory (CUDA"),
        (RuntimeError("CUDA error: out of memory"), "oom", 3, "out of memory (CUDA error"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
            "oom",
            3,
            "out of memory (CU",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
            "input",
            2,
            "train.num_workers: a process that reads shards was killed",
        ),
        (ZeroDivisionError("division by zero"), "bug", 3, "ZeroDivisionError: division by zero"),
        (
            UnreadableError("cannot be read, 4 times: ended", file="train-000000.tar"),
            "disk",
            74,
            "train-000000.tar: cannot",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "disk", 74, "the disk is full (mounted at /"),
        (OSError(errno.ESTALE, "Stale file handle"), "disk", 74, "the disk does not answer (Stale file handle)"),
        (OSError(errno.ECONNABORTED, "aborted"), "disk", 74, "the disk does not answer (Software caused connection"),
    ],
)
def test_failures_are_classified(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str, code: int, said: str
) -> None:
    def failing(*_: Any, **__: Any) -> torch.Tensor:
        raise error

    monkeypatch.setattr(loop, "train_step", failing)
    folder = make_run()
    assert train(folder) == code
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["kind"] == kind
    assert said in failure["error"]
    assert "test_failures.py" in failure["where"]
    assert "failing" in failure["trace"]
    monkeypatch.undo()
    assert train(folder) == 0
    assert not (folder / "failure.json").exists()


def test_the_users_mistakes_exit_with_two(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(train={"device": "cuda:7"})
    assert train(folder) == 2
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["kind"] == "input"
    assert "train.device" in failure["error"]
    assert "Traceback" not in capsys.readouterr().err


class Two(ProcessGroup):
    """The first of two processes, of which the other one does nothing."""

    ranks = Ranks(0, 2)


@pytest.mark.parametrize(
    ("sections", "key"),
    [({"train": {"batch": 15}}, "train.batch: 2 processes"), ({"init_from": {"cell": "none", "seed": 0}}, "init_from")],
)
def test_what_cannot_be_trained_is_refused_before_caches_are_filled(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any], key: str
) -> None:
    monkeypatch.setattr(worker, "assemble", lambda *_: pytest.fail("the towers read all images before"))
    folder = make_run(parents=[{"cell": "none", "seed": 0}], **sections)
    assert worker.train_in_group(Two(), folder) == 2
    assert key in json.loads((folder / "failure.json").read_text())["error"]


def test_a_signal_while_the_result_is_written_loses_nothing(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def interrupted(path: Path, **options: bool) -> None:
        unlink(path, **options)
        if path.name == "last.safetensors":
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Path, "unlink", interrupted)
    folder = make_run()
    assert train(folder) == 0
    assert (folder / "result.json").exists()


def test_a_signal_while_a_failure_is_written_loses_nothing(make_run: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def interrupted(source: Path, target: Path) -> None:
        if target.name == "failure.json":
            signal.raise_signal(signal.SIGTERM)  # as torchrun does where a process that failed later ends first
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    folder = make_run(train={"device": "cuda:7"})
    assert train(folder) == 2
    assert json.loads((folder / "failure.json").read_text())["kind"] == "input"


def test_a_failure_after_a_signal_is_told(make_run: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    save = checkpoints.save

    def full(path: Path, *args: Any, **options: Any) -> str:
        if path.name == "last.safetensors":
            raise DiskError("the disk is full", file=path)
        return save(path, *args, **options)

    monkeypatch.setattr(checkpoints, "save", full)
    folder = make_run()
    assert stopped_at(folder, 5) == 74
    assert json.loads((folder / "failure.json").read_text())["kind"] == "disk"


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path) == 2
    assert "no run directory" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_two_workers_of_one_run_cannot_work_at_once(make_run: RunMaker) -> None:
    folder = make_run(train={"length": {"steps": 300}})
    first = start(folder)
    wait_for((folder / "lock.json").exists)
    assert train_apart(folder) == 75
    first.terminate()
    first.join()
    assert first.exitcode == 143


def test_an_interrupt_that_python_wraps_is_no_failure(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Field:
        def __set_name__(self, owner: type, name: str) -> None:
            signal.raise_signal(signal.SIGTERM)

    def interrupted(*_: object) -> None:
        type("Config", (), {"field": Field()})  # Python 3.11 makes a RuntimeError of it

    monkeypatch.setattr(worker, "assemble", interrupted)
    folder = make_run()
    assert train(folder) == 143
    assert "interrupted by SIGTERM" in capsys.readouterr().out
    assert not (folder / "failure.json").exists()
