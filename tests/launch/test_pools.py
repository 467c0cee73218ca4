"""Pools without a cluster: settings, states of jobs, GPUs, and what follows from an exit status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from standin import make_plan

from mtlab import files
from mtlab.errors import UserError
from mtlab.launch.backends import (
    LocalSettings,
    SlurmSettings,
    attempt_limit,
    launcher_settings,
    make_pool,
    slurm_options,
)
from mtlab.launch.exit_status import ExitStatus
from mtlab.launch.launcher import LaunchOutcome, launch
from mtlab.launch.local.pool import LocalPool, default_workers
from mtlab.launch.policy import LaunchPolicy
from mtlab.launch.slurm import queue
from mtlab.launch.slurm.pool import SlurmPool
from mtlab.launch.slurm.queue import JobInfo, SlurmError, parse_squeue
from mtlab.runs.results import write_result
from mtlab.runs.store import Store
from mtlab.studies.spec import Resources

Program = Callable[[str, str], Path]

# Settings


NO_VALUE = "expected a text, a number, or true for an option without a value"


def test_a_launcher_is_a_name_or_a_mapping() -> None:
    assert launcher_settings("local") == LocalSettings()
    assert launcher_settings("slurm") == SlurmSettings()
    given = {"name": "slurm", "partition": "gpu", "at_once": 40, "extra": {"qos": "long"}}
    assert launcher_settings(given) == SlurmSettings(partition="gpu", at_once=40, extra={"qos": "long"})
    assert launcher_settings(given, name="slurm").partition == "gpu"  # type: ignore[union-attr]
    assert launcher_settings(given, name="local") == LocalSettings()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("slrum", "launcher: no launcher 'slrum'; did you mean 'slurm'?"),
        (3, "launcher: expected local, slurm, ray, or a mapping with `name`; found 3"),
        ({"name": ["slurm"]}, "launcher: no launcher ['slurm']; did you mean 'slurm'?"),
        ({"partition": "gpu"}, "launcher.name: which launcher? Add `name: local`, or another of local, slurm, ray"),
        ({"name": None}, "launcher.name: which launcher? Add `name: local`, or another of local, slurm, ray"),
        ({"name": "slurm", "partion": "gpu"}, "launcher.partion: unknown key; did you mean 'partition'?"),
        ({"name": "slurm", "at_once": 0}, "launcher.at_once: 0 is out of range: must be at least 1"),
        (
            {"name": "slurm", "extra": {"time": "1:00:00"}},
            "launcher.extra.time: mtlab sets this option itself: say resources.hours",
        ),
        ({"name": "slurm", "extra": {"qos": [1, 2]}}, f"launcher.extra.qos: {NO_VALUE}; found [1, 2]"),
        ({"name": "slurm", "extra": {"exclusive": False}}, f"launcher.extra.exclusive: {NO_VALUE}; found False"),
        ({"name": "local", "partition": "gpu"}, "launcher.partition: unknown key; known: at_once, name"),
    ],
)
def test_wrong_settings_are_told_with_what_would_be_right(given: Any, line: str) -> None:
    with pytest.raises(UserError) as told:
        launcher_settings(given)
    assert str(told.value) == line


def test_resources_in_the_words_of_sbatch() -> None:
    settings = SlurmSettings(partition="gpu", setup=["module load cuda"], extra={"mail_type": "END", "qos": None})
    assert slurm_options(settings, Resources(gpus=2, memory_gb=1.5, hours=0.51)) == {
        "partition": "gpu",
        "account": None,
        "time": 31,
        "mem": "1536M",
        "gpus_per_node": 2,
        "setup": ["module load cuda"],
        "extra": {"mail-type": "END"},
    }
    assert attempt_limit(LocalSettings(), Resources(hours=2.0)) == 7200
    assert attempt_limit(settings, Resources(hours=2.0)) == float("inf")  # Slurm itself sees to it


@pytest.mark.parametrize(
    ("device", "resources", "extra", "asked"),
    [
        ("cuda", {"processes": 4}, {}, 4),
        ("cuda", {}, {}, 1),
        ("cuda:0", {}, {}, 1),
        ("cuda", {"processes": 4, "gpus": 4}, {}, 4),
        ("cuda", {"processes": 4, "gpus": 0}, {}, None),
        ("cuda", {"processes": 4}, {"gres": "gpu:a100:4"}, None),
        ("auto", {"processes": 4}, {}, None),
        ("auto", {"processes": 4, "gpus": 4}, {}, 4),
        ("cpu", {"processes": 4, "gpus": 1}, {}, 1),
    ],
)
def test_a_job_asks_for_a_gpu_for_each_process(
    device: str,
    resources: dict[str, Any],
    extra: dict[str, Any],
    asked: int | None,
    program: Program,
) -> None:
    program("sinfo", "")
    tests = program("sbatch", "")
    pool = make_pool(SlurmSettings(extra=extra), Resources(**resources), on_device(device))
    assert isinstance(pool, SlurmPool)
    assert pool.options["gpus_per_node"] == asked
    assert ("--gpus-per-node" in tests.read_text()) == (asked is not None)


@pytest.mark.parametrize(
    ("device", "resources", "line"),
    [
        ("cuda", {"processes": 4, "gpus": 1}, "1 for 4 processes, each of which takes one: say 4, or"),
        ("auto", {"processes": 2, "gpus": 3}, "3 for 2 processes, each of which takes one: say 2, or"),
        ("auto", {"gpus": 2}, "2 for 1 process, each of which takes one: say 1, or resources.processes: 2"),
    ],
)
def test_another_number_of_gpus_than_of_processes_is_refused(device: str, resources: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as told:
        make_pool(SlurmSettings(), Resources(**resources), on_device(device))
    assert str(told.value).startswith(f"resources.gpus: {line}")
    assert make_pool(LocalSettings(), Resources(**resources), on_device("cpu"))


def on_device(device: str) -> Any:
    """Make configurations of runs, one of them on a device."""
    _, configs = make_plan({"aaa": {}, "bbb": {}}, (0,))
    configs["bbb/s0"]["config"]["train"]["device"] = device
    return configs


def test_of_a_study_on_both_kinds_of_device_only_some_jobs_ask_for_gpus(program: Program, tmp_path: Path) -> None:
    program("sinfo", "")
    program("sbatch", "")
    plan, configs = make_plan({"aaa": {}, "bbb": {}}, (0,))
    for run, device in (("aaa/s0", "cpu"), ("bbb/s0", "cuda")):
        configs[run]["config"]["train"]["device"] = device
    asked = {}

    def submit(run: Path, command: Sequence[str], variables: Any, options: Mapping[str, Any]) -> int:
        asked[run.parent.name] = options["gpus_per_node"]
        write_result(run, {})
        return 7

    pool = make_pool(SlurmSettings(at_once=1), Resources(), configs)
    done = FakeQueue(["7|COMPLETED|0:0|0:02|1:00|"])
    pool = replace(pool, submit=submit, query=done.query, intervals=(0.01, 0.02))
    assert launch(Store.open(tmp_path / "runs", create=True), plan, configs, pool=pool).exit_code == 0
    assert asked == {"aaa": None, "bbb": 1}


def test_where_there_is_no_slurm_that_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no sbatch here: Slurm's jobs are submitted from a login node"):
        make_pool(SlurmSettings(), Resources(), make_plan({"aaa": {}})[1])
    assert queue.describe_cluster() == {"version": None, "partitions": [], "problem": None}


def test_where_submitit_is_missing_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(UserError, match=r"launcher: slurm needs the package submitit: pip install 'mtlab\[slurm\]'"):
        make_pool(SlurmSettings(), Resources(), make_plan({"aaa": {}})[1])


# States of jobs


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("7|COMPLETED|0:0|1:00|UNLIMITED|", ExitStatus(0)),
        ("7|FAILED|3:0|1:00|UNLIMITED|", ExitStatus(3)),
        ("7|FAILED|137:0|1:00|UNLIMITED|", ExitStatus(137)),
        ("7|FAILED|0:9|1:00|UNLIMITED|", ExitStatus(137)),
        ("7|FAILED|143:0|1:00|1:00:00|", ExitStatus(143)),  # somebody's SIGTERM, long before its time is up
        ("7|FAILED|143:0|58:40|1:00:00|", ExitStatus(None, "timeout", "job 7: not finished after 1 hours")),
        ("7|TIMEOUT|0:15|1-00:00:10|1-00:00:00|", ExitStatus(None, "timeout", "job 7: not finished after 24 hours")),
        ("7|PREEMPTED|0:15|1:00|UNLIMITED|", ExitStatus(None, None, "job 7: pre-empted by a more urgent job")),
        ("7|NODE_FAIL|0:0|1:00|UNLIMITED|", ExitStatus(None, None, "job 7: its node failed")),
        ("7|CANCELLED|0:15|1:00|UNLIMITED|", ExitStatus(None, None, "job 7: cancelled")),
        (
            "7|OUT_OF_MEMORY|0:125|1:00|UNLIMITED|",
            ExitStatus(None, "oom", "job 7: Slurm ended it for its memory: raise resources.memory_gb"),
        ),
    ],
)
def test_the_end_of_a_job(line: str, end: ExitStatus) -> None:
    (seen,) = parse_squeue(line)
    assert not seen.active
    assert seen.exit_status() == end


def test_jobs_that_go_on() -> None:
    text = (
        "1|PENDING|0:0|0:00|UNLIMITED|1|N/A|\n2|RUNNING|0:0|0:01|1:00|\n9|RUNNING|0:0|0:01|1:00|8|0|\n"
        "3|COMPLETING|0:0|0:01|1:00|\nnonsense\n"
    )
    assert [(seen.job, seen.active, seen.pending) for seen in parse_squeue(text)] == [
        (1, True, True),
        (2, True, False),
        ("8_0", True, False),  # of an array
        (3, True, False),
    ]


def test_one_query_for_all_jobs_and_none_for_none(program: Program) -> None:
    calls = program("squeue", "echo '4|RUNNING|0:0|0:01|1:00|'")
    assert queue.query_jobs([]) == {}
    assert set(queue.query_jobs([9, 4])) == {4}  # the other is forgotten
    (line,) = calls.read_text().splitlines()
    assert "--jobs=4,9 " in line


def test_a_queue_that_has_forgotten_all_is_no_error_and_one_that_is_silent_is(program: Program) -> None:
    program("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert queue.query_jobs([4]) == {}
    program("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SlurmError):
        queue.query_jobs([4])


class FakeQueue:
    """A queue with one job, number 7, and a script of what each query of it returns or raises."""

    def __init__(self, answers: Sequence[str | Exception], work: Callable[[Path], Any] = bool) -> None:
        self.answers = list(answers)
        self.work = work  #: what the job does, given the run directory

    def submit(self, run: Path, *_: Any) -> int:
        self.work(run)
        return 7

    def query(self, _: Any) -> dict[int, JobInfo]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {info.job: info for info in parse_squeue(answer)}


def launch_on(queue: FakeQueue, store: Path, **policy: Any) -> LaunchOutcome:
    plan, configs = make_plan({"aaa": {}}, (0,))
    pool = SlurmPool(1, {"extra": {}}, submit=queue.submit, query=queue.query, intervals=(0.01, 0.02))
    return launch(Store.open(store, create=True), plan, configs, pool=pool, policy=LaunchPolicy(**policy))


def test_what_a_worker_wrote_counts_where_the_queue_has_forgotten_its_job(tmp_path: Path) -> None:
    failure = {"kind": "nan", "error": "the loss is nan", "where": "loop.py:1"}
    writes = FakeQueue([""], lambda run: files.write_json(run / "failure.json", failure))
    assert str(launch_on(writes, tmp_path / "runs").failed["aaa/s0"]) == "nan: the loss is nan"
    # The same failure is there, but of an earlier attempt.
    outcome = launch_on(FakeQueue([""]), tmp_path / "runs", retries=0)
    assert str(outcome.failed["aaa/s0"]) == "killed: job 7: the queue does not know it any more"


def test_a_queue_that_is_silent_for_a_while_loses_no_job(tmp_path: Path) -> None:
    silent = SlurmError("Unable to contact slurm controller")
    running, done = "7|RUNNING|0:0|0:01|1:00|", "7|COMPLETED|0:0|0:02|1:00|"
    queue = FakeQueue([running, silent, silent, done], lambda run: write_result(run, {}))
    assert launch_on(queue, tmp_path / "runs").done == ("aaa/s0",)


def test_a_bug_in_a_query_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        launch_on(FakeQueue([ZeroDivisionError()]), tmp_path / "runs")


# What follows from an exit status


class Scripted:
    """A pool whose attempts end as a script says; those that get on write a checkpoint."""

    def __init__(self, ends: Sequence[tuple[ExitStatus, bool]]) -> None:
        self.at_once = 1
        self.ends = list(ends)

    async def __aenter__(self) -> Scripted:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def start(self, run: Path, config: Mapping[str, Any]) -> Played:  # noqa: ARG002 - the protocol's
        return Played(run, *self.ends.pop(0))

    def adopt(self, run: Path) -> None:  # noqa: ARG002 - the protocol's
        return None


class Played:
    """An attempt of `Scripted`."""

    pending = False
    details: Mapping[str, Any] = {}

    def __init__(self, run: Path, end: ExitStatus, gets_on: bool) -> None:
        self.run, self.end, self.gets_on = run, end, gets_on

    async def wait(self) -> ExitStatus:
        await asyncio.sleep(0.01)
        if self.gets_on:
            files.write_text(self.run / "checkpoints" / "last.safetensors", "x")
        if self.end.code == 0:
            write_result(self.run, {})
        return self.end

    def stop(self, *, force: bool = False) -> None:
        pass


def played(
    store: Path, *ends: tuple[ExitStatus, bool], retries: int = 2, cells: Sequence[str] = ("aaa",)
) -> LaunchOutcome:
    plan, configs = make_plan({cell: {} for cell in cells}, (0,))
    opened = Store.open(store, create=True)
    return launch(opened, plan, configs, pool=Scripted(ends), policy=LaunchPolicy(retries=retries))


LATE = ExitStatus(None, "timeout", "job 7: not finished after 1 hours")
LOST = ExitStatus(None, None, "job 7: its node failed")
REFUSED = ExitStatus(None, "input", "Slurm refused the job: Invalid qos specification")


def test_a_run_longer_than_a_job_goes_on_in_further_jobs(tmp_path: Path) -> None:
    assert played(tmp_path / "runs", *[(LATE, True)] * 5, (ExitStatus(0), True), retries=0).exit_code == 0


def test_a_job_that_does_not_get_on_in_its_time_is_told(tmp_path: Path) -> None:
    outcome = played(tmp_path / "runs", (LATE, True), (LATE, False))
    failure = outcome.failed["aaa/s0"]
    assert str(failure) == "timeout: job 7: not finished after 1 hours"
    assert "raise resources.hours" in failure.advice


def test_what_a_cluster_loses_is_tried_again_within_the_limit(tmp_path: Path) -> None:
    assert played(tmp_path / "runs", (LOST, True), (LATE, True), (LOST, False), (ExitStatus(0), False)).exit_code == 0
    outcome = played(tmp_path / "others", *[(LOST, True)] * 3)
    assert str(outcome.failed["aaa/s0"]) == "killed: job 7: its node failed"


def test_refused_in_two_cells_a_study_stops(tmp_path: Path) -> None:
    outcome = played(tmp_path / "runs", (REFUSED, False), (REFUSED, False), cells=("aaa", "bbb", "ccc"))
    assert set(outcome.failed) == {"aaa/s0", "bbb/s0"}
    assert outcome.skipped == ("ccc/s0",)


# GPUs of this machine


def launched(store: Store, cards: Sequence[str], at_once: int, devices: Mapping[str, str]) -> dict[str, str]:
    """Run workers that write which GPUs they see; return that by cell."""
    plan, configs = make_plan({cell: {} for cell in devices}, (0,))
    for run, config in configs.items():
        config["config"]["train"]["device"] = devices[run.partition("/")[0]]
    script = (
        'printf "%s" "${CUDA_VISIBLE_DEVICES-unset}" > "$0/seen"; sleep 0.3; '
        'echo \'{"format": 1, "steps": 1, "metrics": {}}\' > "$0/result.json"'
    )
    pool = LocalPool(at_once, cards, command=lambda run: ["sh", "-c", script, str(run)])
    assert launch(store, plan, configs, pool=pool).exit_code == 0
    return {cell: (store.run(f"{cell}/s0") / "seen").read_text() for cell in devices}


def test_each_run_has_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    store = Store.open(tmp_path / "runs", create=True)
    seen = launched(store, ("0", "GPU-b"), 2, dict.fromkeys(("aaa", "bbb", "ccc", "ddd"), "auto"))
    assert {seen["aaa"], seen["bbb"]} == {seen["ccc"], seen["ddd"]} == {"0", "GPU-b"}


def test_runs_that_take_no_gpu_or_name_theirs_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    store = Store.open(tmp_path / "runs", create=True)
    seen = launched(store, ("0", "1"), 3, {"aaa": "cpu", "bbb": "cuda:1", "ccc": "cuda"})
    assert seen == {"aaa": "unset", "bbb": "unset", "ccc": "0"}


def test_no_more_runs_than_gpus_unless_asked_for() -> None:
    _, configs = make_plan({"aaa": {}}, (0,))
    configs["aaa/s0"]["config"]["train"]["device"] = "auto"
    assert default_workers(configs, ("0",)) == 1
    configs["aaa/s0"]["config"]["train"]["device"] = "cpu"
    assert default_workers(configs, ("0",)) == default_workers(configs)
    configs["aaa/s0"]["config"]["train"]["device"] = "cuda:3"
    assert default_workers(configs) == 1, "it names one"
