"""The workers of this machine: their threads, and the Python and modules that they are started with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from standin import make_plan

from mtlab.launch.launcher import launch
from mtlab.launch.local.pool import LocalPool, default_workers, usable_cpus
from mtlab.launch.workers import worker_command, worker_environment
from mtlab.runs.store import Store


def test_workers_are_held_to_their_threads(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs", create=True)
    plan, configs = make_plan({"aaa": {}}, (0,))
    configs["aaa/s0"]["config"]["train"]["threads"] = 1
    assert default_workers(configs) == usable_cpus()
    configs["aaa/s0"]["config"]["train"]["threads"] = 1000
    assert default_workers(configs) == 1
    script = "import os; e = os.environ; print(e['OMP_NUM_THREADS'], e['MKL_NUM_THREADS'], os.getsid(0) == os.getpid())"
    launch(store, plan, configs, pool=LocalPool(1, command=lambda _: [sys.executable, "-c", script]))
    assert (store.run("aaa/s0") / "log.txt").read_text() == "1000 1000 True\n"
    assert worker_environment(3)["OPENBLAS_NUM_THREADS"] == "3"


def test_the_real_worker_is_this_python_and_looks_for_modules_where_we_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/somewhere/bin", *sys.path])
    assert worker_command(Path("x")) == [sys.executable, "-P", "-m", "mtlab", "train", "x"]
    for here in ("", str(Path.cwd())):
        monkeypatch.setattr(sys, "path", [here, *sys.path])
        assert worker_command(Path("x")) == [sys.executable, "-m", "mtlab", "train", "x"]


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "350000 100000\n"}, 4),
        ({"cpu.max": "9900000 100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_a_container_has_as_many_cpus_as_its_limit_is_worth(
    files: dict[str, str], cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of `docker run --cpus`, or `resources.limits.cpu` of Kubernetes, which leave all CPUs of the host visible."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64))
    monkeypatch.setattr("mtlab.launch.local.pool.CGROUP", tmp_path)
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert usable_cpus() == cpus
