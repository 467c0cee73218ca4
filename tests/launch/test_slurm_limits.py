"""A queue that takes no more jobs of a user for now."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from standin import make_plan

from mtlab.launch.launcher import launch
from mtlab.launch.slurm.pool import SlurmPool
from mtlab.launch.slurm.queue import SlurmError, parse_squeue
from mtlab.runs.results import write_result
from mtlab.runs.store import Store


def test_at_the_users_limit_a_job_waits_as_long_as_a_quiet_queue_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [SlurmError("sbatch: error: QOSMaxSubmitJobPerUserLimit")] * 7
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
