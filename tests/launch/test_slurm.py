"""Runs as jobs of a real Slurm cluster of one node: killed, pre-empted, broken, interrupted, left alone."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import standin
from calling import mtlab_at
from patience import wait_for
from slurm_cluster import CPUS, Cluster
from standin import make_plan, snapshot
from tiny_study import write_study

from mtlab import files
from mtlab.errors import UserError
from mtlab.launch.backends import launcher_settings, make_pool
from mtlab.launch.launcher import LaunchOutcome, launch
from mtlab.launch.local.pool import LocalPool
from mtlab.launch.policy import LaunchPolicy
from mtlab.launch.slurm.job import read_job
from mtlab.launch.slurm.pool import SlurmPool
from mtlab.launch.status import study_statuses
from mtlab.runs.lock import lock_path
from mtlab.runs.store import Store
from mtlab.studies.spec import Resources

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs", create=True)


def on_cluster(
    store: Store, rows: Any, seeds: Any = (0,), partition: str = "normal", *, array: bool = False, **policy: Any
) -> LaunchOutcome:
    """Launch a plan of stand-ins as jobs."""
    plan, configs = make_plan(rows, seeds)
    pool = SlurmPool(4, {"partition": partition, "extra": {}}, command=standin.command, array=array)
    return launch(store, plan, configs, pool=pool, policy=LaunchPolicy(**{"patience": 5.0, "grace": 20.0, **policy}))


def undisturbed(folder: Path, rows: Any, seeds: Any = (0,)) -> dict[str, bytes]:
    """Return what the local launcher makes of the same plan when nothing goes wrong."""
    store = Store.open(folder / "undisturbed" / "runs", create=True)
    plan, configs = make_plan({cell: {**row, "does": None, "pause": 0.0} for cell, row in rows.items()}, seeds)
    assert launch(store, plan, configs, pool=LocalPool(2, command=standin.command)).exit_code == 0
    return results(store)


def results(store: Store) -> dict[str, bytes]:
    return {name: data for name, data in snapshot(store.root).items() if not name.endswith("config.json")}


def events(store: Store, *kinds: str) -> list[dict[str, Any]]:
    rows = files.read_jsonl(store.study("demo") / "launch.jsonl")
    return [row for row in rows if row["event"] in kinds]


def jobs_of(store: Store, run: str) -> list[str]:
    """Return the jobs that were submitted for a run."""
    return sorted(path.name.partition("_")[0] for path in (store.run(run) / "slurm").glob("*_submission.sh"))


def meanwhile(store: Store, run: str, act: Callable[[str], object]) -> threading.Thread:
    """Do something to the job of a run as soon as its worker has kept a state."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not ((store.run(run) / "checkpoints" / "last.json").exists() and jobs_of(store, run)):
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)
        act(jobs_of(store, run)[-1])

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_study_ends_as_on_this_machine_and_leaves_its_logs_with_its_runs(
    cluster: Cluster, store: Store, tmp_path: Path
) -> None:
    rows: Any = {"top": {}, "kid": {"parent": "top"}}
    outcome = on_cluster(store, rows, (0, 1))
    assert outcome.exit_code == 0, outcome
    assert results(store) == undisturbed(tmp_path, rows, (0, 1))
    run = store.run("kid/s1")
    assert (run / "log.txt").read_text() == "attempt 1\n"
    (job,) = jobs_of(store, "kid/s1")
    assert f"job_id={job}" in (run / "slurm" / f"{job}_0_log.out").read_text()
    assert {event["job"] for event in events(store, "start")} == {
        int(job) for name in ("top/s0", "top/s1", "kid/s0", "kid/s1") for job in jobs_of(store, name)
    }
    assert on_cluster(store, rows, (0, 1)).exit_code == 0
    assert len(events(store, "start")) == 4  # what is done is done


def test_a_killed_worker_and_a_cancelled_job_are_tried_again_and_go_on(
    cluster: Cluster, store: Store, tmp_path: Path
) -> None:
    rows: Any = {"killed": {"does": "kill:1"}, "gone": {"pause": 0.4}}
    helper = meanwhile(store, "gone/s0", lambda job: cluster.command("scancel", job))
    outcome = on_cluster(store, rows)
    helper.join()
    assert outcome.exit_code == 0, outcome
    causes = {event["run"]: event["why"] for event in events(store, "queued")}
    assert causes["killed/s0"] == "the worker was ended by SIGKILL; attempt 2 follows"
    assert causes["gone/s0"] == f"job {jobs_of(store, 'gone/s0')[0]}: cancelled; attempt 2 follows"
    assert len(jobs_of(store, "killed/s0")) == len(jobs_of(store, "gone/s0")) == 2
    assert results(store) == undisturbed(tmp_path, rows)


@pytest.mark.parametrize("partition", ["normal", "cancelled"])
def test_a_pre_empted_job_goes_on(cluster: Cluster, store: Store, tmp_path: Path, partition: str) -> None:
    rows: Any = {"aaa": {"pause": 0.4}}
    urgent = ("sbatch", "--partition=urgent", f"--cpus-per-task={CPUS}", "--output=/dev/null", "--wrap=sleep 1")
    helper = meanwhile(store, "aaa/s0", lambda _: cluster.command(*urgent))
    outcome = on_cluster(store, rows, partition=partition)
    helper.join()
    assert outcome.exit_code == 0, outcome
    assert store.run_state("aaa/s0")["attempt"] == 2  # type: ignore[index]
    if partition == "normal":  # Slurm itself puts it back into its queue
        assert len(jobs_of(store, "aaa/s0")) == 1
    else:
        assert "pre-empted" in events(store, "queued")[0]["why"]
    assert results(store) == undisturbed(tmp_path, rows)


def test_a_bug_is_not_tried_again(cluster: Cluster, store: Store) -> None:
    outcome = on_cluster(store, {"aaa": {"does": "bug"}, "bbb": {}})
    assert outcome.exit_code == 1
    assert outcome.done == ("bbb/s0",)
    assert str(outcome.failed["aaa/s0"]) == "bug: ZeroDivisionError: division by zero"
    assert len(jobs_of(store, "aaa/s0")) == 1


def test_what_breaks_before_the_worker_begins_names_the_file_that_says_why(cluster: Cluster, store: Store) -> None:
    plan, configs = make_plan({"aaa": {}}, (0,))
    pool = SlurmPool(1, {"extra": {}}, command=lambda _: ["/no/such/python"])
    outcome = launch(store, plan, configs, pool=pool)
    failure = outcome.failed["aaa/s0"]
    assert failure.kind == "bug"
    named = failure.error.partition("see ")[2]
    assert "/no/such/python" in (store.run("aaa/s0") / named).read_text()


def launcher(store: Store, rows: Any, seeds: Any = (0,)) -> subprocess.Popen[str]:
    """Start a launcher of jobs in a process of its own."""
    return standin.launch_process(store.root, make_plan(rows, seeds), pool="slurm", grace=20.0)


def test_ctrl_c_cancels_the_jobs_and_the_same_command_goes_on(cluster: Cluster, store: Store, tmp_path: Path) -> None:
    rows: Any = {"aaa": {"pause": 0.3}}
    process = launcher(store, rows, range(6))  # of which four have a place
    wait_for(lambda: len(list((store.root / "cells").glob("*/s*/checkpoints/last.json"))) >= 3, 60)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert cluster.command("squeue", "-h", "--states=PENDING,RUNNING") == ""
    assert not list((store.root / "cells").glob("*/s*/lock.json"))
    plan, _ = make_plan(rows, range(6))
    assert set(store.states(plan).values()) <= {"new", "interrupted", "done"}
    assert "interrupted" in store.states(plan).values()
    assert on_cluster(store, rows, range(6)).exit_code == 0
    assert results(store) == undisturbed(tmp_path, rows, range(6))


def test_jobs_outlive_their_launcher_and_the_next_one_takes_them_over(
    cluster: Cluster, store: Store, tmp_path: Path
) -> None:
    rows: Any = {"aaa": {"pause": 0.5, "steps": 16}}
    process = launcher(store, rows, range(5))  # one waits in the queue
    wait_for(lambda: sum(bool(jobs_of(store, f"aaa/s{seed}")) for seed in range(5)) >= 4, 60)
    wait_for(lock_path(store.run("aaa/s0")).exists, 60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert on_cluster(store, rows, range(5)).exit_code == 0
    assert [len(jobs_of(store, f"aaa/s{seed}")) for seed in range(5)] == [1] * 5
    assert {path.read_text() for path in store.root.parent.glob("*.alone")} == {"begun\nleft\n"}
    assert results(store) == undisturbed(tmp_path, rows, range(5))


def test_runs_of_one_moment_are_an_array_whose_jobs_are_each_cancelled_and_taken_over(
    cluster: Cluster, store: Store, tmp_path: Path
) -> None:
    made = make_plan({"aaa": {"pause": 0.5, "steps": 16}}, range(CPUS + 1))
    store.write_plan("demo", made[0])
    process = standin.launch_process(store.root, made, pool="slurm array", grace=20.0)
    wait_for((store.run("aaa/s0") / "checkpoints/last.json").exists, 60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    jobs = [known[0] for run in made[1] if (known := read_job(store.run(run))) is not None]
    array = str(jobs[0]).partition("_")[0]
    assert jobs == [f"{array}_{index}" for index in range(CPUS + 1)]
    (waits,) = (run for run in study_statuses(store, ["demo"])[0].runs if run.state == "queued")
    assert waits.job == jobs[-1]
    cluster.command("scancel", str(jobs[0]))
    assert on_cluster(store, {"aaa": {"pause": 0.5, "steps": 16}}, range(CPUS + 1), array=True).exit_code == 0
    states = [store.run_state(run) or {} for run in made[1]]
    assert [state["attempt"] for state in states] == [2, *[1] * CPUS]
    assert "TWO AT ONCE" not in "".join(path.read_text() for path in tmp_path.glob("*.alone"))
    assert results(store) == undisturbed(tmp_path, {"aaa": {"steps": 16}}, range(CPUS + 1))


def test_status_tells_what_waits_in_the_queue(cluster: Cluster, store: Store) -> None:
    rows: Any = {"aaa": {"pause": 0.3}}
    store.write_plan("demo", make_plan(rows, range(CPUS + 2))[0])
    process = launcher(store, rows, range(CPUS + 2))  # more than have a place
    waits: set[str] = set()
    deadline = time.monotonic() + 60
    try:
        while not waits:
            assert time.monotonic() < deadline, "nothing waited in time"
            time.sleep(0.2)
            found = study_statuses(store, ["demo"])[0].runs
            waits = {str(run.job) for run in found if run.state == "queued"}
        assert waits <= set(cluster.command("squeue", "-h", "--format=%i").split())
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert "queued" not in study_statuses(store, ["demo"])[0].counts


# The real command


def learnt(store: Path) -> dict[str, Any]:
    """Return what must be the same on every launcher: results without time, host and memory, and weights."""
    found: dict[str, Any] = {}
    for run in sorted((store / "cells").glob("*/s*")):
        result = json.loads((run / "result.json").read_text())
        found[f"{run.parent.name}/{run.name}"] = result["metrics"], (run / "checkpoints/best.safetensors").read_bytes()
    return found


def test_the_command_gives_what_it_gives_without_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    keys = "launcher: {name: slurm, partition: normal, at_once: 2, extra: {comment: ours}}\nresources: {memory_gb: 0.9}"
    path = write_study(tmp_path, f"axes: {{manager: [bridge, static]}}\n{keys}", "jobs")
    done = mtlab_at(tmp_path, "run", str(path))
    assert done.returncode == 0, done.stderr
    assert "2 at once" in done.stdout
    assert json.loads(mtlab_at(tmp_path, "status", "jobs", "--json").stdout)["counts"] == {"done": 2}
    assert all(len(list(run.glob("slurm/*_submission.sh"))) == 1 for run in (tmp_path / "runs/cells").glob("*/s*"))
    again = mtlab_at(tmp_path, "run", str(path), "--launcher", "local", "--store", "elsewhere")
    assert again.returncode == 0, again.stderr
    assert learnt(tmp_path / "runs") == learnt(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("launcher", "resources", "line"),
    [
        (
            {"partition": "nromal"},
            {},
            "launcher.partition: the cluster has no partition 'nromal'; did you mean 'normal'?",
        ),
        (
            {},
            {"memory_gb": 9000.0},
            "resources: Slurm would not take such a job (resources.cpus 1, resources.processes 1, resources.memory_gb",
        ),
        ({}, {"gpus": 8}, "resources: Slurm would not take such a job (resources.cpus 1, resources.gpus 8"),
        ({"extra": {"nonsense": 1}}, {}, "launcher.extra: Slurm would not take such a job"),
    ],
)
def test_what_the_cluster_would_never_start_is_refused(
    cluster: Cluster, launcher: dict[str, Any], resources: dict[str, Any], line: str
) -> None:
    settings = launcher_settings({"name": "slurm", **launcher})
    with pytest.raises(UserError) as told:
        make_pool(settings, Resources(**resources), make_plan({"aaa": {}})[1])
    assert str(told.value).startswith(line)
    assert cluster.command("squeue", "-h") == ""


def test_a_refusal_names_the_file_and_nothing_is_started(cluster: Cluster, tmp_path: Path) -> None:
    path = write_study(tmp_path, "axes: {manager: [bridge]}\nlauncher: {name: slurm, partition: nromal}", "wrong")
    done = mtlab_at(tmp_path, "run", str(path))
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: {path}:4: launcher.partition: ")
    assert not (tmp_path / "runs" / "cells").exists()


def test_the_doctor_shows_the_partitions(cluster: Cluster, tmp_path: Path) -> None:
    told = json.loads(mtlab_at(tmp_path, "doctor", "--json").stdout)["slurm"]
    assert told["version"]
    assert told["problem"] is None
    assert [each["name"] for each in told["partitions"]] == ["normal*", "cancelled", "urgent"]
