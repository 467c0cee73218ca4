"""Runs on a real Ray cluster of two nodes: killed with their node, stopped, left by their launcher."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray_nodes
import standin
from calling import mtlab, mtlab_at
from patience import wait_for
from standin import make_plan, snapshot
from tiny_study import TINY, write_study

from mtlab import files
from mtlab.errors import UserError
from mtlab.launch.backends import RaySettings, make_pool
from mtlab.launch.launcher import LaunchOutcome, launch
from mtlab.launch.local.pool import LocalPool
from mtlab.launch.policy import LaunchPolicy
from mtlab.launch.ray.cluster import Node, connect, refuse_impossible_run
from mtlab.launch.ray.pool import RayPool, describe_loss
from mtlab.runs.store import Store
from mtlab.studies.spec import Resources


@pytest.fixture(scope="module")
def nodes() -> Iterator[ray_nodes.Nodes]:
    """Run a cluster for all tests of the module."""
    with ray_nodes.running() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "runs", create=True)


def on_cluster(nodes: ray_nodes.Nodes, store: Store, made: Any, **policy: Any) -> LaunchOutcome:
    """Launch a plan of stand-ins on the cluster."""
    connect(nodes.address)
    rules = LaunchPolicy(**{"patience": 5.0, "grace": 20.0, **policy})
    return launch(store, *made, pool=RayPool(8, command=standin.command), policy=rules)


def undisturbed(folder: Path, made: Any) -> dict[str, bytes]:
    """Return what the local launcher makes of the same plan when nothing goes wrong."""
    plan, configs = made
    for config in configs.values():
        config["config"] |= {"does": None, "pause": 0.0}
    store = Store.open(folder / "undisturbed" / "runs", create=True)
    assert launch(store, plan, configs, pool=LocalPool(2, command=standin.command)).exit_code == 0
    return results(store)


def results(store: Store) -> dict[str, bytes]:
    return {name: data for name, data in snapshot(store.root).items() if not name.endswith("config.json")}


def attempts(store: Store) -> list[int]:
    """Return how many attempts each run took, in order."""
    states = sorted((store.root / "cells").glob("*/s*/state.json"))
    return [files.read_json(path)["attempt"] for path in states]


@pytest.mark.slow
def test_what_a_killed_node_and_a_killed_worker_leave_is_finished_by_others(
    nodes: ray_nodes.Nodes, store: Store, tmp_path: Path
) -> None:
    made = make_plan({"aaa": {"pause": 0.5}, "bbb": {"does": "kill:1"}}, (0, 1))

    def lost() -> bool:  # a run that has kept a state there
        runs = [path.parent.parent for path in (store.root / "cells").glob("aaa/s*/checkpoints/last.json")]
        return any(nodes.is_on_second(files.read_json(run / "state.json")["pid"]) for run in runs)

    def kill() -> None:
        wait_for(lost, 200)
        nodes.kill()

    helper = threading.Thread(target=kill, daemon=True)
    helper.start()
    outcome = on_cluster(nodes, store, made)
    helper.join()
    nodes.add()
    assert outcome.exit_code == 0, outcome
    causes = " ".join(event.get("why", "") for event in files.read_jsonl(store.study("demo") / "launch.jsonl"))
    assert "its node failed; attempt 2 follows" in causes
    assert "the worker was ended by SIGKILL; attempt 2 follows" in causes
    assert sorted(attempts(store)) == [1, 2, 2, 2]
    assert "TWO AT ONCE" not in "".join(path.read_text() for path in tmp_path.glob("*.alone"))
    assert results(store) == undisturbed(tmp_path, made)


@pytest.mark.slow
def test_ctrl_c_stops_runs_with_their_state_and_a_killed_launcher_leaves_none(
    nodes: ray_nodes.Nodes, store: Store, tmp_path: Path
) -> None:
    made = make_plan({"aaa": {"pause": 0.3}}, range(3))  # of which two have a place
    for ending in (signal.SIGINT, signal.SIGKILL):
        process = standin.launch_process(store.root, made, pool=f"ray {nodes.address}", grace=20.0)
        wait_for(lambda: len(list((store.root / "cells").glob("*/s*/lock.json"))) >= 1, 120)
        wait_for(lambda: len(list((store.root / "cells").glob("*/s*/checkpoints/last.json"))) >= 1, 120)
        process.send_signal(ending)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == (130 if ending == signal.SIGINT else -9), out
        if ending == signal.SIGINT:
            assert not list((store.root / "cells").glob("*/s*/lock.json"))
            assert set(store.states(made[0]).values()) <= {"new", "interrupted", "done"}
    assert on_cluster(nodes, store, made).exit_code == 0
    assert "TWO AT ONCE" not in "".join(path.read_text() for path in tmp_path.glob("*.alone"))
    assert results(store) == undisturbed(tmp_path, made)


def learnt(store: Path) -> dict[str, Any]:
    """Return what must be the same on every launcher: results without time, host and memory, and weights."""
    found: dict[str, Any] = {}
    for run in sorted((store / "cells").glob("*/s*")):
        result = json.loads((run / "result.json").read_text())
        found[f"{run.parent.name}/{run.name}"] = result["metrics"], (run / "checkpoints/best.safetensors").read_bytes()
    return found


@pytest.mark.slow
def test_a_sweep_and_its_winner_are_as_on_this_machine(nodes: ray_nodes.Nodes, tmp_path: Path) -> None:
    (tmp_path / "tune.yaml").write_text(
        TINY.replace("kind: ablation\nname: tiny\n", "kind: sweep\nname: tune\n")
        + f"""
space: {{train.lr: {{float: [1e-4, 1e-2], log: true}}}}
budget: {{trials: 1}}
finally: {{seeds: 1}}
launcher: {{name: ray, address: "{nodes.address}"}}
resources: {{memory_gb: 0.5}}
"""
    )
    done = mtlab_at(tmp_path, "sweep", "tune.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    again = mtlab_at(tmp_path, "sweep", "tune.yaml", "--launcher", "local", "--store", "elsewhere")
    assert again.returncode == 0, again.stderr
    found = learnt(tmp_path / "runs")
    assert len(found) == 2
    assert found == learnt(tmp_path / "elsewhere")


@pytest.mark.slow
def test_what_no_node_could_run_is_refused_and_the_doctor_tells_what_there_is(
    nodes: ray_nodes.Nodes, tmp_path: Path
) -> None:
    keys = f'launcher: {{name: ray, address: "{nodes.address}"}}\nresources: {{memory_gb: 9000}}'
    path = write_study(tmp_path, f"axes: {{manager: [bridge]}}\n{keys}", "large")
    done = mtlab_at(tmp_path, "run", str(path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"error: {path}:5: resources.memory_gb: no node of the Ray cluster has 1 CPUs, 9000.0 GiB" in done.stderr
    assert not (tmp_path / "runs" / "cells").exists()
    told = json.loads(mtlab("doctor", "--json", cwd=tmp_path, RAY_ADDRESS=nodes.address).stdout)["ray"]
    assert told["problem"] is None
    assert [(node["cpus"], node["memory_gib"]) for node in told["nodes"]] == [(1.0, 1.0), (1.0, 1.0)]


@pytest.mark.parametrize(
    ("wanted", "key"),
    [((8, 0, 0.0), "cpus"), ((1, 2, 0.0), "gpus"), ((1, 0, 90.0), "memory_gb"), ((3, 0, 2.0), None)],
)
def test_a_run_must_fit_on_one_node_in_all_it_asks_for(wanted: tuple[int, int, float], key: str | None) -> None:
    nodes = [Node("a", 2.0, 0.0, 3.0), Node("b", 4.0, 1.0, 1.0)]
    with pytest.raises(UserError, match=r"as a run asks for; nodes: 2 CPUs, 3\.0 GiB; 4 CPUs, 1 GPUs, 1\.0") as told:
        refuse_impossible_run(nodes, *wanted)
    assert told.value.key == (f"resources.{key}" if key else "resources")
    refuse_impossible_run(nodes, 4, 1, 1.0)


def test_no_cluster_and_no_ray_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # by the tests above
    config = {"run": {"config": {"train": {"threads": 1}}}}
    for address, why in {
        "127.0.0.1:1": "Connection refused",
        "six": "expected auto, ray://HOST:PORT, or HOST:",
    }.items():
        with pytest.raises(UserError, match=f"launcher.address: no Ray cluster at {address}: .*{why}"):
            make_pool(RaySettings(address=address), Resources(), config)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"launcher: ray needs the package ray: pip install 'mtlab\[ray\]'"):
        make_pool(RaySettings(), Resources(), config)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("The actor died because its node has died. Node Id: 17", "node a: its node failed"),
        ("1 worker(s) were killed due to the node running low on memory.", "node a: Ray ended it for the memory of"),
        ("Some common causes include: (1) killed due to high memory usage", "node a: its Ray process was ended"),
    ],
)
def test_what_ray_says_of_a_lost_actor_in_a_line(text: str, why: str) -> None:
    assert describe_loss(text, {"node": "a"}).startswith(why)
