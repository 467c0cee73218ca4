"""A queue that takes no more jobs of a user for now."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from standin import make_plan

from mtlab import files
from mtlab.launch.exit_status import ExitStatus
from mtlab.launch.launcher import launch
from mtlab.launch.slurm import pool as module
from mtlab.launch.slurm.job import Submission, read_job, submit_or_find
from mtlab.launch.slurm.pool import LEFT, SlurmPool
from mtlab.launch.slurm.queue import JobInfo, QueueFullError, SlurmError, parse_squeue
from mtlab.processes import Process, current_process
from mtlab.runs.results import write_result
from mtlab.runs.store import Store


def test_at_the_users_limit_a_job_waits_as_long_as_a_quiet_queue_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [QueueFullError("Job violates accounting/QOS policy")] * 7
    slept: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    def submit(run: Path, *_: Any) -> int:
        if refusals:
            raise refusals.pop()
        write_result(run, {})
        return 7

    done = {info.job: info for info in parse_squeue("7|COMPLETED|0:0|0:02|1:00|")}
    pool = SlurmPool(1, {"extra": {}}, submit=submit, query=lambda _: done, intervals=(0.01, 10.0))
    monkeypatch.setattr(asyncio, "sleep", noted)
    plan, configs = make_plan({"aaa": {}}, (0,))
    assert launch(Store.open(tmp_path / "runs", create=True), plan, configs, pool=pool).done == ("aaa/s0",)
    assert [seconds for seconds in slept if seconds >= 1] == [10.0] * 7


#: what sbatch says: the first line why, the second of whatever a policy forbids
REFUSED = (
    "sbatch: error: {why}\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
    "(job submit limit, user's size and/or time limits)"
)


@pytest.mark.parametrize(
    ("why", "error"),
    [
        ("QOSMaxSubmitJobPerUserLimit", QueueFullError),
        ("AssocMaxSubmitJobLimit", QueueFullError),
        ("QOSMaxWallDurationPerJobLimit", SlurmError),
    ],
)
def test_too_many_jobs_are_told_from_what_no_waiting_helps(
    tmp_path: Path, program: Callable[[str, str], Path], why: str, error: type[SlurmError]
) -> None:
    program("squeue", "")
    program("sbatch", f"cat >&2 <<'END'\n{REFUSED.format(why=why)}\nEND\nexit 1")
    run = tmp_path / "store" / "cells" / "aaa" / "s0"
    run.mkdir(parents=True)
    with pytest.raises(SlurmError) as told:
        submit_or_find(run, ["worker"], {}, {"extra": {}})
    assert type(told.value) is error


def test_a_cluster_whose_programs_are_missing_for_a_moment_is_asked_again(
    tmp_path: Path, program: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "store" / "cells" / "aaa" / "s0"
    run.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for missing in ("srun", "sbatch"):
        with pytest.raises(SlurmError, match=missing):
            submit_or_find(run, ["worker"], {}, {"extra": {}})
        program(missing, "")


def test_a_disk_that_does_not_answer_the_watcher_ends_no_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(run: Path, *_: Any) -> int:
        write_result(run, {})
        return 7

    done = {info.job: info for info in parse_squeue("7|COMPLETED|0:0|0:02|1:00|")}
    pool = SlurmPool(1, {"extra": {}}, submit=submit, query=lambda _: done, intervals=(0.01, 0.05))
    monkeypatch.setattr(module, "lock_path", lambda run: run / ("x" * 300))  # an error, whether it is there or not
    plan, configs = make_plan({"aaa": {}}, (0,))
    assert launch(Store.open(tmp_path / "runs", create=True), plan, configs, pool=pool).done == ("aaa/s0",)


def test_a_job_says_nothing_of_the_one_that_it_is_submitted_from(
    tmp_path: Path, program: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    program("squeue", "")
    program("sbatch", f"env > {seen}; echo Submitted batch job 7")
    for name, value in (("JOB_ID", "3"), ("MEM_PER_CPU", "500"), ("CONF", "/etc/slurm.conf")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    run = tmp_path / "store" / "cells" / "aaa" / "s0"
    run.mkdir(parents=True)
    assert submit_or_find(run, ["worker"], {}, {"extra": {}}) == 7
    named = {line.partition("=")[0] for line in seen.read_text().splitlines() if line.startswith("SLURM_")}
    assert named == {"SLURM_CONF"}
    assert os.environ["SLURM_MEM_PER_CPU"] == "500"


def arrays_of(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Launch five runs on a cluster that takes arrays of at most so many jobs; return the sizes that were tried."""
    sizes: list[int] = []

    def submit(submissions: Sequence[Submission], _: Any) -> list[str]:
        sizes.append(len(submissions))
        if len(submissions) > most:
            raise QueueFullError("too many")
        for each in submissions:
            write_result(each.run, {})
        return [f"{len(sizes)}_{index}" for index, _ in enumerate(submissions)]

    def ended(jobs: Iterable[Any]) -> dict[Any, Any]:
        return {each.job: each for each in parse_squeue("\n".join(f"{job}|COMPLETED|0:0|0:02|1:00|" for job in jobs))}

    monkeypatch.setattr(module, "submit_or_find_all", submit)
    pool = SlurmPool(5, {"extra": {}}, array=True, query=ended, intervals=(0.01, 0.05))
    plan, configs = make_plan({name: {} for name in ("aaa", "bbb", "ccc", "ddd", "eee")}, (0,))
    outcome = launch(Store.open(tmp_path / "runs", create=True), plan, configs, pool=pool)
    assert len(outcome.done) == 5
    return sizes


def test_an_array_that_is_too_large_is_halved_until_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert arrays_of(2, tmp_path, monkeypatch)[:2] == [5, 2]


def test_more_jobs_than_an_array_takes_are_several_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_ARRAY", 2)
    assert arrays_of(2, tmp_path, monkeypatch) == [2, 2, 1]


def test_jobs_that_are_ending_and_take_no_signal_end_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(jobs: Any, *, force: bool = False) -> None:
        if force:
            raise SlurmError("scancel ended with 1")

    monkeypatch.setattr(module, "cancel", refuse)
    states = iter(["RUNNING", "RUNNING", "COMPLETING"])

    async def stopped() -> ExitStatus:
        pool = SlurmPool(
            1,
            {"extra": {}},
            query=lambda _: {
                info.job: info for info in parse_squeue(f"7|{next(states, 'CANCELLED')}|0:15|0:02|1:00:00|")
            },
            intervals=(0.01, 0.02),
        )
        async with pool:
            job = module._Job(pool, tmp_path, None, 7)
            waiting = asyncio.create_task(job.wait())
            await asyncio.sleep(0.05)
            job.stop()
            job.stop(force=True)
            return await asyncio.wait_for(waiting, 20)

    assert "cancelled" in str(asyncio.run(stopped()).cause)


@pytest.mark.parametrize("host", ["login2", ""])
def test_only_the_job_of_a_launcher_that_is_gone_is_taken_over_and_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    gone = Process.from_json({**current_process().to_json(), "start": 1})  # its number belongs to another by now
    launcher = {**gone.to_json(), **({"host": host} if host else {})}
    (tmp_path / "slurm").mkdir()
    files.write_json(tmp_path / "slurm/job.json", {"job": 7, "launcher": launcher})
    cancelled: list[object] = []
    monkeypatch.setattr(module, "cancel", lambda jobs, **_: cancelled.extend(jobs))

    def query(_: object) -> dict[object, JobInfo]:
        return {info.job: info for info in parse_squeue(f"7|{'CANCELLED' if cancelled else 'RUNNING'}|0:15|0:02|1:00|")}

    async def stopped() -> ExitStatus:
        async with SlurmPool(1, {"extra": {}}, query=query, intervals=(0.01, 0.02)) as pool:
            job = pool.adopt(tmp_path)
            assert job is not None
            waiting = asyncio.create_task(job.wait())
            await asyncio.sleep(0.1)
            job.stop()
            ended = await asyncio.wait_for(waiting, 20)
            await asyncio.sleep(0.1)  # the queue is asked again
            return ended

    ended, kept = asyncio.run(stopped()), read_job(tmp_path)
    if host:
        assert (cancelled, ended, kept) == ([], LEFT, (7, Process.from_json(launcher)))
    else:
        assert (cancelled, kept) == ([7], None)
