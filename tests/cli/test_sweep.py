"""`mtlab sweep` as users call it, with real runs that take seconds."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from calling import Command
from patience import wait_for
from tiny_study import TINY

TEXT = """
over: {manager: [bridge, {name: static, label: ours}]}
baseline: {manager: bridge}
space: {train.lr: {float: [1e-4, 1e-2], log: true}, manager: default}
start_from: default
budget: {trials: 2}
finally: {seeds: 2}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Path]:
    """Write a sweep of tiny runs and return its path."""

    def write(text: str = TEXT, name: str = "tune") -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(TINY.replace("kind: ablation\nname: tiny\n", f"kind: sweep\nname: {name}\n") + text)
        return path

    return write


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_help_teaches_and_waits_for_nothing_heavy(mtlab: Command) -> None:
    text = ok(mtlab("sweep", "--help"))
    for word in ("run", "plan", "status", "best", "report", "dashboard", "mtlab sweep plan quick"):
        assert word in text
    script = (
        "import sys; sys.argv = ['mtlab', 'sweep', '--help']; import mtlab.cli as cli; cli.main();"
        "assert not {'torch', 'optuna', 'plotly'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.slow
def test_a_sweep_from_its_plan_to_its_winners(mtlab: Command, sweep: Callable[..., Path], tmp_path: Path) -> None:
    path = sweep()
    planned = ok(mtlab("sweep", "plan", path))
    assert "train.lr: 0.0001 – 0.01, log" in planned
    assert "time: at most about " in planned
    assert f"next: mtlab sweep {path}" in planned
    store = Path(os.environ["MTLAB_STORE"])
    assert not (store / "cells").exists(), "a plan starts nothing"

    output = ok(mtlab("sweep", path, "--workers", 2))
    assert "Tuned against tuned" in output
    assert "2/2" in output
    report = store / "studies/tune/report"
    assert {each.name for each in report.iterdir()} == {"report.html", "report.json", "report.md"}
    data = json.loads((report / "report.json").read_text())
    assert [row["ended"] for row in data["variants"]] == [2, 2]
    assert [row["n"] for row in data["final"]["rows"]] == [2, 2]
    assert data["final"]["metric"] == "test/accuracy"

    runs = {path: path.stat().st_mtime_ns for path in (store / "cells").glob("*/s*/result.json")}
    assert len(runs) == 2 * 2 + 2 * 2
    assert json.loads(ok(mtlab("sweep", "plan", path, "--json")))["time"] is None, "nothing is left"
    more = json.loads(ok(mtlab("sweep", "plan", path, "study.budget.trials=3", "--json")))
    assert more["time"]["runs"] == 2
    assert ok(mtlab("sweep", path, "--quiet")) == ""
    assert {each: each.stat().st_mtime_ns for each in (store / "cells").glob("*/s*/result.json")} == runs

    status = json.loads(ok(mtlab("sweep", "status", path, "--json")))
    assert status["complete"]
    assert [each["trials"] for each in status["variants"]] == [{"done": 2}, {"done": 2}]
    assert "the tuned variants: mtlab status tune-final" in ok(mtlab("sweep", "status", path))
    assert ok(mtlab("report", "tune-final"))
    assert "is a sweep: `mtlab sweep report tune`" in refused(mtlab("report", "tune"))
    assert "6 runs" not in ok(mtlab("status"))

    winners = tmp_path / "winners.yaml"
    ok(mtlab("sweep", "best", path, "--as", winners))
    assert "4 runs (4 done)" in ok(mtlab("plan", winners)), "their runs are those of finally"
    assert "is there already" in refused(mtlab("sweep", "best", path, "--as", winners))
    assert json.loads(ok(mtlab("sweep", "report", path, "--format", "json"))) == data
    assert ok(mtlab("sweep", "report", "tune", "--format", "md")).startswith("# tune\n")

    script = (
        "import sys; import mtlab.cli as cli\n"
        "for command in ('status', 'best', 'report'):\n"
        "    sys.argv = ['mtlab', 'sweep', command, 'tune']; assert not cli.main(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)

    other = sweep(TEXT.replace("1e-2", "1e-1"))
    assert "begun with another space.train.lr" in refused(mtlab("sweep", other))
    raised = ok(mtlab("sweep", sweep(), "study.budget.trials=3", "--search-only"))
    assert "3/3" in raised


def test_a_plan_estimates_the_time_of_trials_and_winners(mtlab: Command, sweep: Callable[..., Path]) -> None:
    for further, runs in (("seeds: 3", 2 * 2 * 3 + 2 * 2), ("finally: none", 2 * 2)):
        text = TEXT.replace("finally: {seeds: 2}", "") if "finally" in further else TEXT
        planned = json.loads(ok(mtlab("sweep", "plan", sweep(text + further), "--replace", "--json")))
        assert planned["time"]["runs"] == runs
        assert planned["time"]["timed"] in (["bridge"], ["ours"])


def test_a_plan_counts_what_trials_and_winners_start_from(
    mtlab: Command, sweep: Callable[..., Path], tmp_path: Path
) -> None:
    over = "{manager: [bridge, {name: static, label: ours}]}"
    (tmp_path / "first.yaml").write_text(TINY.replace("name: tiny\n", f"name: first\naxes: {over}\n", 1))
    text = TEXT.replace(", manager: default", "") + "init_from: {study: first}"
    planned = json.loads(ok(mtlab("sweep", "plan", sweep(text), "--json")))
    assert planned["time"]["runs"] == 2 * (2 + 2 + 1 + 2), "trials, winners, and a parent of each seed of either"


@pytest.mark.slow
def test_ctrl_c_leaves_a_sweep_that_goes_on(mtlab: Command, sweep: Callable[..., Path]) -> None:
    path = sweep(TEXT + "\nresources: {hours: 1}")
    process = subprocess.Popen(
        [sys.executable, "-m", "mtlab", "sweep", str(path), "train.length.steps=4000", "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: any(Path(os.environ["MTLAB_STORE"]).glob("cells/*/s0/metrics.jsonl")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted; the same command goes on from here" in errors
    status = json.loads(ok(mtlab("sweep", "status", path, "--json")))
    assert status["variants"][0]["trials"] == {"waiting": 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TEXT.replace("[1e-4, 1e-2]", "[]"), "space.train.lr: float: expected a list, found []"),
        (TEXT.replace("[1e-4, 1e-2]", "[0, 1]"), "space.train.lr: log: expected bounds above 0"),
        (TEXT + "objective: test/accuracy", "objective: test/accuracy: a search may not see test data"),
        (TEXT + "resources: {processes: 5}", "tune.yaml:18: resources.processes: 5 processes cannot share 8 evenly"),
        (TEXT + "sampler: {name: tpe, startup: 2}", "sampler.startup: sampler 'tpe' has no such option"),
        (
            TEXT + "storage: postgresql://me@127.0.0.1:9/sweeps",
            "storage: postgresql://me@127.0.0.1:9/sweeps cannot be reached: connection",
        ),
    ],
)
def test_bad_input_is_told_in_one_line_and_starts_nothing(
    text: str, told: str, mtlab: Command, sweep: Callable[..., Path]
) -> None:
    assert told in refused(mtlab("sweep", sweep(text)))
    store = Path(os.environ["MTLAB_STORE"])
    assert not (store / "cells").exists()
    assert not list(store.glob("studies/*/journal.jsonl"))


@pytest.mark.parametrize(
    ("module", "further", "extra"),
    [
        ("cmaes", "sampler: cmaes", "the sampler cmaes needs the package cmaes: pip install 'mtlab[cmaes]'"),
        (
            "psycopg",
            "storage: postgresql://me@127.0.0.1:9/sweeps",
            "needs the package psycopg: pip install 'mtlab[postgres]'",
        ),
    ],
)
def test_a_missing_package_is_told_with_its_extra(
    module: str, further: str, extra: str, sweep: Callable[..., Path], tmp_path: Path
) -> None:
    script = f"""
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {module!r} else found(name, *rest)
import mtlab.cli
sys.argv = ["mtlab", "sweep", {str(sweep(TEXT + further))!r}]
sys.exit(mtlab.cli.main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert extra in refused(done)


def test_a_study_is_no_sweep_and_a_sweep_no_study(mtlab: Command, sweep: Callable[..., Path], tmp_path: Path) -> None:
    assert "is a sweep: `mtlab sweep plan` shows it" in refused(mtlab("plan", sweep()))
    (tmp_path / "study.yaml").write_text(TINY)
    assert "kind: is no sweep but kind: ablation" in refused(mtlab("sweep", tmp_path / "study.yaml"))
    assert "has not begun" in refused(mtlab("sweep", "status", sweep()))
    (Path(os.environ["MTLAB_STORE"]) / "studies" / "tune").mkdir(parents=True)  # as a detached one that was refused
    assert "2 trials" in ok(mtlab("sweep", "plan", sweep(), "study.budget.trials=2"))
    assert "no recipe of that name; did you mean 'quick'?" in refused(mtlab("sweep", "quik"))


def test_a_shipped_sweep_is_copied(mtlab: Command, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    output = ok(mtlab("new", "mine", "--from", "sweeps/quick", "--out", out))
    assert f"mtlab sweep plan {out}" in output
    assert "\nname: mine\n" in out.read_text()
