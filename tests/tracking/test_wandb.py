"""Weights & Biases: offline files read back by its own reader, and a server that writes down what it is sent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from calling import Finished, mtlab
from patience import wait_for
from served import KEY, Server
from tracked_study import STUDY, run_id

from mtlab.runs.store import Store

Serve = Callable[..., Server]
STEPS = [0, 1, 2, 5, 10, 20, 30]
ALL = {f"{label}, seed {seed}" for label in ("bridge", "static") for seed in (0, 1)} | {"comparison"}
NAMES = {"static, seed 0", "comparison"}  #: of `one`


def sync(store: Store, *arguments: object) -> Finished:
    return mtlab("track", "sync", "tracked", "--store", store.root, *arguments)


def inspected(file: Path, *options: str) -> str:
    """What W&B's own reader says of an offline file."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def offline(store: Store) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]]:
    """Read the study's offline runs back: name → run record, history, summary."""
    found = {}
    for file in (store.study("tracked") / "wandb").glob("offline-run-*/run-*.wandb"):
        records = [json.loads(line) for line in inspected(file).splitlines()]
        (run,) = [record["run"] for record in records if record["type"] == "run"]
        history = [record["history"]["item"] for record in records if record["type"] == "history"]
        assert run["display_name"] not in found  # one file a run
        found[run["display_name"]] = (run, history, json.loads(inspected(file, "--summary")))
    return found


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.usefixtures("wandb_home")
def test_offline_files_hold_all_of_a_study(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)  # there is no need for it, and no place
    done = sync(store, "--offline")
    assert done.returncode == 0, done.stderr
    assert "W&B: 5 of 5 (5 new)" in done.stdout
    found = offline(store)
    assert found.keys() == ALL
    run, history, summary = found["static, seed 1"]
    assert (run["project"], run["run_group"], run["job_type"]) == ("layers", "static", "run")
    assert run["tags"] == ["tracked", "static", "test"]
    assert [row["_step"] for row in history] == STEPS
    assert [row["_step"] for row in history if "val/loss" in row] == [10, 20, 30]
    assert (summary["state"], summary["exit_code"]) == ("finished", 0)
    finished = (store.run(run_id(store, "static", 1)) / "result.json").stat().st_mtime
    assert history[-1]["_timestamp"] == pytest.approx(finished, abs=2)
    assert {name.partition("/")[0] for row in history for name in row if not name.startswith("_")} == {
        "step", "seconds", "train", "val", "contribution", "entropy", "gradient", "figures", "layers",
    }  # fmt: skip
    assert summary["summary"]["val/loss"] == store.result(run_id(store, "static", 1))["metrics"]["val/loss"]  # type: ignore[index]
    result = store.result(run_id(store, "static", 1))
    assert result is not None
    assert {name: summary["summary"][name] for name in result["metrics"]} == result["metrics"]
    assert summary["config"]["train"]["batch"] == 20
    assert summary["config"]["variant"] == "static"
    assert {"figures/contributions", "figures/evolution of contributions", "layers/table"} <= summary["summary"].keys()
    _, history, summary = found["comparison"]
    assert summary["summary"]["comparison/table"]["nrows"] == 2
    assert {"figures/comparison", "figures/all contributions", "comparison/layers"} <= summary["summary"].keys()
    for media in store.root.glob("studies/tracked/wandb/offline-run-*/files/media/plotly/**/*.json"):
        assert "bdata" not in media.read_text()  # W&B shows nothing of packed arrays
    assert KEY.encode() not in everything_in(store.root)


def test_what_was_written_is_written_once_and_nothing_leaves(one: Store, serve: Serve) -> None:
    server = serve()
    assert sync(one, "--offline").returncode == 0
    folder = one.study("tracked") / "wandb"
    before = {path: path.read_bytes() for path in folder.rglob("*.wandb")}
    again = sync(one, "--offline")
    assert again.returncode == 0
    assert "W&B: 2 of 2 (0 new)" in again.stdout
    assert {path: path.read_bytes() for path in folder.rglob("*.wandb")} == before
    assert json.loads(server.path.read_text())["requests"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("wandb_home")
def test_pictures_stand_beside_the_figures_where_there_is_a_browser(one: Store) -> None:
    pytest.importorskip("kaleido")
    plan = one.plan("tracked")
    plan["tracking"]["wandb"]["images"] = True
    one.write_plan("tracked", plan)
    done = sync(one, "--offline")
    if "Chrome" in done.stdout:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stderr
    from PIL import Image

    folders = "studies/tracked/wandb/offline-run-*/files/media/images/pictures"
    pictures = [file for title in ("", "all ") for file in one.root.glob(f"{folders}/{title}contributions_*.png")]
    assert len(pictures) == 2  # of the run and of the comparison
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.width >= 760
            assert len(image.convert("RGB").getcolors(10**7) or []) > 20


@pytest.mark.slow
def test_a_study_is_sent_from_the_store_and_only_once(one: Store, serve: Serve) -> None:
    server = serve()
    plan = one.plan("tracked")
    plan["tracking"]["wandb"]["checkpoints"] = True
    one.write_plan("tracked", plan)
    done = sync(one)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "W&B: 2 of 2 (2 new)" in done.stdout
    assert f", at {server.url}/me/layers" in done.stdout
    held = server.runs()
    assert held.keys() == NAMES
    assert server.steps("static, seed 0") == STEPS
    assert {(run["project"], run["exit"]) for run in held.values()} == {("layers", 0)}
    assert held["static, seed 0"]["groupName"] == "static"
    result = one.result(run_id(one, "static", 0))
    assert result is not None
    assert held["static, seed 0"]["summary"]["test/accuracy"] == result["metrics"]["test/accuracy"]
    sent = json.loads(server.path.read_text())["files"]
    assert sum(name.startswith("artifact checkpoint-") for name in sent) == 1
    assert sent.count("best.safetensors") == 1
    lines = {name: run["lines"] for name, run in held.items()}
    again = sync(one)
    assert again.returncode == 0
    assert "W&B: 2 of 2 (0 new)" in again.stdout
    assert {name: run["lines"] for name, run in server.runs().items()} == lines
    assert KEY.encode() not in everything_in(one.root)


@pytest.mark.slow
def test_a_run_that_was_sent_but_not_noted_is_not_doubled(one: Store, serve: Serve) -> None:
    """As if the process had been killed between the last word from the server and its receipt."""
    server = serve()
    assert sync(one).returncode == 0
    lines = {name: run["lines"] for name, run in server.runs().items()}
    (one.derived(run_id(one, "static", 0)) / "tracking" / "tracked.json").unlink()
    again = sync(one)
    assert "W&B: 2 of 2 (1 new)" in again.stdout
    for name, run in server.runs().items():
        new = {place: line for place, line in run["lines"].items() if place not in lines[name]}
        assert {**lines[name], **new} == run["lines"]
        assert all("train/loss" not in line for line in new.values())  # media alone, as they may have changed


@contextmanager
def following(store: Store, mode: str) -> Iterator[subprocess.Popen[str]]:
    """The process that follows a study, as `mtlab run` starts it."""
    keys = json.dumps({"wandb": {"mode": mode, "project": "layers", "images": False}})
    command = [sys.executable, "-m", "mtlab.report.sync", str(store.root), "tracked", keys, "0"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with pytest.MonkeyPatch.context():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
def test_steps_come_while_a_run_goes_on_and_survive_kills(one: Store, serve: Serve) -> None:
    """The worker is cut back to its checkpoint, the follower killed: no step is lost, none is doubled."""
    server = serve()
    folder = one.run(run_id(one, "static", 0))
    (folder / "result.json").rename(folder / "later.json")
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] <= 20))

    def steps() -> list[int]:
        return server.steps("static, seed 0") if "static, seed 0" in server.runs() else []

    with following(one, "online") as process:
        wait_for(lambda: 10 in steps())
        os.killpg(process.pid, signal.SIGKILL)
    assert steps() == [0, 1, 2, 5, 10]
    (folder / "metrics.jsonl").write_text(lines[0])
    with following(one, "online") as process:
        (folder / "metrics.jsonl").write_text("".join(lines))
        wait_for(lambda: 20 in steps())
        assert 30 not in steps()  # its last step comes with the figures, when it has ended
        (folder / "later.json").rename(folder / "result.json")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(120) == 0
    assert steps() == STEPS
    assert server.runs()["static, seed 0"]["exit"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("wandb_home")
@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9"}, "W&B cannot be reached: carried on offline"),
        (
            {"WANDB_BASE_URL": "http://127.0.0.1:9"},
            "W&B has no key here: run `wandb login`, or set",
        ),
    ],
)
def test_without_a_network_or_a_key_it_is_told_in_a_line_and_written_offline(
    one: Store, environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = sync(one)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line for line in lines if told in line] == [lines[0]]
    assert len(lines) == 2
    assert offline(one).keys() == NAMES
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_wrong_key_is_told_in_a_line(one: Store, serve: Serve) -> None:
    serve("refuse")
    done = sync(one)
    assert done.returncode == 1
    mended = f"once that is mended, `mtlab track sync tracked --store {one.root}` sends it"
    assert done.stdout.startswith(f"W&B refuses the key: carried on offline; {mended}")
    assert offline(one).keys() == NAMES


@pytest.mark.slow
def test_a_study_written_offline_is_sent_when_there_is_a_server(one: Store, serve: Serve) -> None:
    server = serve()
    server.stop()
    assert sync(one).returncode == 1
    server = serve()
    done = sync(one)
    assert done.returncode == 0, done.stdout
    assert server.steps("static, seed 0") == STEPS
    offline_again = sync(one, "--offline")
    assert "(0 new)" in offline_again.stdout  # what is at the server needs no files


@pytest.mark.slow
def test_a_study_that_never_had_a_tracker(one: Store, serve: Serve) -> None:
    server = serve()
    one.write_plan("tracked", one.plan("tracked") | {"tracking": {}})
    done = sync(one, "--project", "elsewhere")
    assert done.returncode == 0, done.stdout
    assert {run["project"] for run in server.runs().values()} == {"elsewhere"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("track", "sync", "trackd"), "trackd: no such file, no study of that name in the store, and no recipe"),
        (("track", "sync", "tracked", "--project", "a/b"), "command line: --project: a W&B project's name has no /"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(one: Store, arguments: tuple[str, ...], words: str) -> None:
    done = mtlab(*arguments, "--store", one.root)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())


@pytest.mark.usefixtures("wandb_home")
def test_nothing_is_finished_yet(one: Store) -> None:
    for result in one.root.glob("cells/*/s*/result.json"):
        result.unlink()
    done = sync(one)
    assert done.returncode == 2
    assert "no run of 'tracked' is finished yet" in done.stderr


@pytest.mark.usefixtures("wandb_home")
def test_one_process_at_a_time_sends_a_study(one: Store) -> None:
    with following(one, "offline"):
        wait_for((one.study("tracked") / "tracking.lock").exists)
        wait_for(lambda: any((one.study("tracked") / "wandb").glob("offline-run-*")))
        done = sync(one, "--offline")
    assert "another process is sending this study already" in done.stdout


@pytest.mark.slow
def test_a_study_runs_with_a_tracker_and_again_after_it_was_killed(tmp_path: Path, wandb_home: None) -> None:
    """From `mtlab run` to the offline files: killed amid, started again, each run is there once and whole."""
    file, root = tmp_path / "tracked.yaml", tmp_path / "runs"
    file.write_text(STUDY.replace("steps: 30", "steps: 100").replace("seeds: 2", "seeds: 1"))
    command = [sys.executable, "-m", "mtlab", "run", str(file), "--store", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: any(root.glob("cells/*/s*/checkpoints/last.safetensors")))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(_alive(root)))
    done = mtlab("run", file, "--store", root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "W&B: 3 of 3" in done.stdout
    found = offline(Store.open(root))
    assert found.keys() == {"bridge, seed 0", "static, seed 0", "comparison"}
    for name in found.keys() - {"comparison"}:
        steps = [row["_step"] for row in found[name][1]]
        assert steps == sorted(set(steps))
        assert steps[-1] == 100
    assert not list(root.glob("studies/tracked/.tmp-*"))
    again = mtlab("run", file, "--store", root)
    assert "W&B: 3 of 3 (0 new)" in again.stdout


def _alive(root: Path) -> list[str]:
    """Workers and followers of a store that still live."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(root) in line and "python" in line]
