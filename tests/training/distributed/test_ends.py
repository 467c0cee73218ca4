"""How runs in several processes end: killed, refused, asked to stop, held by others, started by the launcher."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from patience import wait_for
from several import ENVIRONMENT, HERE
from tiny_runs import RunMaker, lines, outcome, train_apart
from tiny_study import write_study

from mtlab.distributed import torch_process_group
from mtlab.distributed.ranks import SINGLE_RANK, Ranks, batch_sharing_problem
from mtlab.distributed.torchrun import choose_exit_code
from mtlab.errors import UserError
from mtlab.launch.exit_status import ExitStatus, classify_exit
from mtlab.launch.local.pool import LocalPool, default_workers
from mtlab.launch.workers import worker_command, worker_environment
from mtlab.training.environment import choose_device

TORCHRUN = {
    "RANK": "0",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


def start(folder: Path, **variables: str) -> subprocess.Popen[str]:
    """Start `mtlab train FOLDER --processes 2`."""
    command = worker_command(folder, processes=2)
    return subprocess.Popen(
        command,
        env={**ENVIRONMENT, **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    told, complained = process.communicate(timeout=900)
    return process.returncode, told, complained


def planned_with(folder: Path, **settings: Any) -> None:
    """Change what a run directory says of the run."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **settings}))


@pytest.mark.slow
def test_a_run_one_of_whose_processes_was_killed_goes_on_as_if_nothing_had_happened(make_run: RunMaker) -> None:
    whole, broken = make_run("whole"), make_run("broken")
    for folder in (whole, broken):
        planned_with(folder, plugins=["rank_killer"], plugin_folder=str(HERE))
    (broken / "kill").touch()
    code, _, complained = ended(start(broken, TO_BE_KILLED=str(broken)))
    assert code == 128 + signal.SIGKILL, complained
    assert "Traceback" not in complained
    assert not (broken / "failure.json").exists()
    failure = classify_exit(ExitStatus(code), None, finished=False, attempt=1, run=Path("run"))
    assert failure is not None
    assert failure.kind == "killed", "the launcher tries again"
    code, told, complained = ended(start(broken, TO_BE_KILLED=str(broken)))
    assert code == 0, complained
    assert "resuming after step 10/30" in told
    assert told.count("finished after 30 steps") == 1
    assert ended(start(whole, TO_BE_KILLED=str(whole)))[0] == 0
    assert outcome(broken) == outcome(whole)
    assert len(lines(broken, "val/loss")) == len({row["step"] for row in lines(broken, "val/loss")})


END = """
import atexit, os, sys, types
atexit.register(os.abort)  # as threads of a library do
worker = types.SimpleNamespace(train=lambda *_, **__: print("said") or 143)
sys.modules["mtlab.training"] = sys.modules["mtlab.training.worker"] = worker
sys.argv = ["mtlab", "train", "run"]
from mtlab.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(("processes", "code"), [("1", -signal.SIGABRT), ("2", 143)])
def test_nothing_that_libraries_do_at_exit_changes_how_a_process_of_several_ends(processes: str, code: int) -> None:
    environment = {**os.environ, "WORLD_SIZE": processes}
    done = subprocess.run([sys.executable, "-c", END], env=environment, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (code, "said\n"), done.stderr


@pytest.mark.slow
def test_it_stops_when_asked_to_and_is_told_apart_from_a_failure(make_run: RunMaker) -> None:
    folder = make_run("long", train={"length": {"steps": 100000}, "eval_every": 5000, "checkpoint_every": 20})
    process = start(folder)
    wait_for((folder / "checkpoints" / "last.safetensors").exists, 600)
    assert train_apart(folder) == 75, "one process finds it held"
    os.kill(process.pid, signal.SIGTERM)
    code, told, complained = ended(process)
    assert code == 128 + signal.SIGTERM, complained
    assert told.count("goes on from here") == 1
    assert not (folder / "lock.json").exists()
    assert not (folder / "failure.json").exists()


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_told_in_one_line(make_run: RunMaker) -> None:
    folder = make_run("odd", train={"batch": 15})
    code, told, complained = ended(start(folder))
    assert code == 2
    assert complained == "mtlab: train.batch: 2 processes cannot share 15 evenly; they can share 14 or 16\n"
    assert "finished" not in told
    assert json.loads((folder / "failure.json").read_text())["kind"] == "input"


@pytest.mark.slow
def test_a_study_may_ask_for_processes(tmp_path: Path) -> None:
    study = write_study(tmp_path, "resources: {processes: 2}\nset: {train: {device: cpu}}")
    command = [sys.executable, "-m", "mtlab", "run", str(study), "--store", str(tmp_path / "runs")]
    done = subprocess.run(
        command, env=ENVIRONMENT, cwd=tmp_path, text=True, capture_output=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = (tmp_path / "runs").glob("cells/*/s0/result.json")
    assert json.loads(result.read_text())["mixes"]["processes"] == 2


def test_a_study_whose_batches_cannot_be_shared_is_not_planned(tmp_path: Path) -> None:
    from mtlab.launch.prepare import plan_study

    study = write_study(tmp_path, "resources: {processes: 3}")
    with pytest.raises(UserError, match=r"resources.processes: 3 processes cannot share 8 evenly; .* 6 or 9"):
        plan_study(study, (), plugins=False)


def test_every_place_of_a_step_is_one_processs() -> None:
    for ranks, batch, micro in ((1, 7, 3), (2, 12, 4), (3, 12, 2), (4, 4, 8)):
        taken = [
            list(range(batch)[part]) for rank in range(ranks) for part in Ranks(rank, ranks).micro_batches(batch, micro)
        ]
        assert sorted(place for part in taken for place in part) == list(range(batch))
        assert max(map(len, taken)) <= micro
    assert [list(range(7)[part]) for part in SINGLE_RANK.micro_batches(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_what_cannot_be_shared() -> None:
    assert batch_sharing_problem(2, 16, 8) is None
    assert batch_sharing_problem(1, 7, 7) is None
    assert batch_sharing_problem(4, 3, None) == "4 processes cannot share 3 evenly; they can share 4"
    assert (
        batch_sharing_problem(2, 10, 5)
        == "2 processes cannot share the 5 pairs evenly that are contrasted with each other"
    )


def test_torchruns_environment_is_read() -> None:
    assert torch_process_group.read_environment({"MASTER_ADDR": "node1", "HOME": "/"}) is None
    assert torch_process_group.read_environment(TORCHRUN) == {
        "RANK": 0,
        "WORLD_SIZE": 2,
        "LOCAL_RANK": 0,
        "LOCAL_WORLD_SIZE": 2,
    }
    with torch_process_group.init_process_group({**TORCHRUN, "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}) as group:
        assert group.world_size == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RANK": None}, "environment: WORLD_SIZE, .* set, RANK not: start with `torchrun`"),
        ({"MASTER_PORT": None, "LOCAL_RANK": None}, "LOCAL_RANK, MASTER_PORT not"),
        ({"RANK": "two"}, "environment: RANK: 'two' is no number"),
        ({"RANK": "2"}, "environment: RANK: 2 is not below WORLD_SIZE = 2"),
        ({"LOCAL_RANK": "5"}, "LOCAL_RANK: 5 is not below LOCAL_WORLD_SIZE = 2"),
    ],
)
def test_half_an_environment_is_refused(change: dict[str, str | None], words: str) -> None:
    given = {name: value for name, value in (TORCHRUN | change).items() if value is not None}
    with pytest.raises(UserError, match=words):
        torch_process_group.read_environment(given)


def test_half_an_environment_ends_a_worker_in_one_line(make_run: RunMaker) -> None:
    folder = make_run("half")
    command = [sys.executable, "-m", "mtlab", "train", str(folder)]
    done = subprocess.run(command, env={**ENVIRONMENT, "RANK": "0"}, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("mtlab: environment: RANK set, WORLD_SIZE, LOCAL_RANK, ")


def test_a_launchers_workers_are_none_of_torchruns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert torch_process_group.read_environment(worker_environment(1)) is None


def test_each_process_takes_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_device("auto", number, 2) for number in (0, 1)] == [torch.device("cuda:0"), torch.device("cuda:1")]
    assert choose_device("cuda", 1, 2) == torch.device("cuda:1")
    assert choose_device("cpu", 1, 2) == torch.device("cpu")
    with pytest.raises(UserError, match=r"train.device: 3 processes need 3 GPUs, there are 2 here"):
        choose_device("auto", 0, 3)
    with pytest.raises(UserError, match=r"train.device: cuda:1 is one GPU"):
        choose_device("cuda:1", 0, 2)


def test_each_run_gets_as_many_gpus_as_it_has_processes(tmp_path: Path) -> None:
    config = {"config": {"train": {"device": "auto", "threads": 1}}}
    script = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"

    async def launched() -> list[str]:
        pool = LocalPool(3, ("0", "1", "2", "3"), lambda _: [sys.executable, "-c", script], gpus_per_run=2)
        folders = [tmp_path / name for name in "abc"]
        for folder in folders:
            folder.mkdir()
        first, second = [await pool.start(folder, config) for folder in folders[:2]]
        await second.wait()
        third = await pool.start(folders[2], config)
        await asyncio.gather(first.wait(), third.wait())
        return [(folder / "log.txt").read_text().strip() for folder in folders]

    assert asyncio.run(launched()) == ["0,1", "2,3", "2,3"]
    assert default_workers({"a": config}, ("0", "1", "2"), 2) == 1
    assert default_workers({"a": config}, (), 10**6) == 1


def test_the_first_to_end_says_why() -> None:
    assert choose_exit_code({0: 76, 1: -9}) == 137
    assert choose_exit_code({0: -15, 1: 3}) == 3
    assert choose_exit_code({0: 75, 1: 75}) == 75
    assert choose_exit_code({1: 76}) == 76
