"""optuna-dashboard on a sweep, in a real browser: searches, figures of each trial's runs, and the runs themselves."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from imagined import Opened, write_sweep

from mtlab.dashboard.address import PageAddress
from mtlab.dashboard.app import render_page
from mtlab.dashboard.dashboard_data import DashboardData
from mtlab.dashboard.page import PageRequest
from mtlab.dashboard.server import host_warning
from mtlab.dashboard.sweep import trial_artifacts
from mtlab.dashboard.sweep.optuna_dashboard import attach_figures_until, combine
from mtlab.errors import UserError
from mtlab.sweeps.storage.base import open_storage
from mtlab.sweeps.stored import load_searches

TEXT = """
why: Which is better?
over: {manager: [bridge, {name: static, label: ours}]}
baseline: {manager: bridge}
space: {train.lr: {float: [1e-4, 1e-1], log: true}, model.cross_layers: {int: [1, 3]}}
pruner: {name: median, n_startup_trials: 1}
seeds: 2
budget: {trials: 3}
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tmp_path_factory.mktemp("sweep")
    made = Opened(write_sweep(folder, TEXT), folder / "runs")
    made.search()
    return made


@pytest.fixture(scope="module")
def address(opened: Opened) -> Iterator[str]:
    """Serve the sweep as the command does; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mtlab", "sweep", "dashboard", "hunt", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--store", str(opened.store.root)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(3)]
    assert said[0] == f"searches of hunt: http://127.0.0.1:{port}/dashboard\n", said
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(30)


def get(address: str, **headers: str) -> Any:
    return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60)


def attributes(opened: Opened, variant: int) -> dict[str, Any]:
    storage = open_storage("journal", "hunt", opened.store.study("hunt"))
    study = storage.optuna_storage.get_study_id_from_name(opened.searches[variant].study.study_name)
    return storage.optuna_storage.get_study_system_attrs(study)


def test_figures_and_links_are_attached_to_trials_once(tmp_path: Path) -> None:
    from optuna.artifacts import FileSystemArtifactStore

    opened = Opened(write_sweep(tmp_path, TEXT), tmp_path / "runs")
    opened.search()
    plan, folder = opened.store.plan("hunt"), tmp_path / "artifacts"
    folder.mkdir()
    artifacts, drawn = FileSystemArtifactStore(str(folder)), []

    def draw(figures: list[Any]) -> list[bytes]:
        drawn.extend(figures)
        return [b"picture"] * len(figures)

    waiting = list(
        trial_artifacts.pending_trials(opened.storage.optuna_storage, plan, load_searches(opened.storage, plan))
    )
    assert len(waiting) == 6
    for run in waiting[0].runs:  # one that failed before it logged anything
        (opened.store.run(run.run) / "metrics.jsonl").unlink()
    trial_artifacts.attach_artifacts(opened.store, opened.storage.optuna_storage, artifacts, waiting, draw)
    assert len(drawn) == len(list(folder.iterdir())) == 5, "one figure each: imagined runs record no layers"
    assert {path.read_bytes() for path in folder.iterdir()} == {b"picture"}
    again = list(
        trial_artifacts.pending_trials(opened.storage.optuna_storage, plan, load_searches(opened.storage, plan))
    )
    assert again == []
    done = next(each for each in waiting if len(each.runs) == 2)
    text = trial_artifacts.trial_note(done)
    assert all(f"[seed {source.seed}](/run/{source.run})" in text for source in done.runs)
    assert opened.trials() == Opened(write_sweep(tmp_path, TEXT), tmp_path / "runs").trials(), "no search is changed"


def test_the_page_of_a_sweep_shows_what_was_found(opened: Opened) -> None:
    data = DashboardData(opened.store.root)
    page, _ = render_page(PageRequest(data, PageAddress.parse("/study/hunt", "")), None)
    data.close()
    text = json.dumps([page["head"], page["body"]], default=lambda part: part.to_plotly_json())
    best = [f"{100 * search.study.best_value:.1f}" for search in opened.searches]
    for words in ("Sweep", "What was found", "3/3", *best, "Best so far: val/accuracy", "mtlab sweep dashboard hunt"):
        assert words in text


def test_runs_of_trials_stand_side_by_side_without_test_data(opened: Opened) -> None:
    done = [run["id"] for run in opened.store.plan("hunt")["runs"] if opened.store.result(run["id"]) is not None][:2]
    assert "test/accuracy" in (opened.store.result(done[0]) or {})["metrics"]
    data = DashboardData(opened.store.root)
    address = PageAddress.parse("/study/hunt", f"?tab=runs&runs={done[0]}&runs={done[1]}")
    page, _ = render_page(PageRequest(data, address), None)
    data.close()
    text = json.dumps(page["body"], default=lambda part: part.to_plotly_json())
    assert "Results of the runs side by side" in text
    assert "val/accuracy" in text
    assert "test/accuracy" not in text


def test_without_a_browser_to_draw_it_says_so_once_and_goes_on(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def fail(*_: object) -> None:
        raise UserError("pictures of figures need Chrome or Chromium on this machine")

    monkeypatch.setattr("mtlab.dashboard.sweep.optuna_dashboard.attach_pending", fail)
    attach_figures_until(opened.store, "hunt", opened.storage, None, threading.Event(), said.append)  # type: ignore[arg-type]
    assert said == ["no figures at the trials: pictures of figures need Chrome or Chromium on this machine"]


def test_searches_are_framed_nowhere_and_a_host_of_others_is_warned_of() -> None:
    sent: list[tuple[str, str]] = []

    def searches(_: object, start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/html")])
        return [b"searches"]

    app = combine(searches, None, local=True)
    environ = {"PATH_INFO": "/dashboard", "HTTP_HOST": "localhost:8050"}
    assert list(app(environ, lambda _, headers: sent.extend(headers))) == [b"searches"]
    assert ("X-Frame-Options", "DENY") in sent
    assert host_warning("127.0.0.1", 8050, "delete") == []
    assert "everybody who reaches 0.0.0.0 on port 8050 can delete" in host_warning("0.0.0.0", 8050, "delete")[0]


@pytest.mark.slow
def test_it_shows_searches_figures_and_runs(opened: Opened, address: str, visit: Any) -> None:
    deadline = time.monotonic() + 240
    while sum(key.startswith("dashboard:artifacts") for key in attributes(opened, 1)) < 3:
        assert time.monotonic() < deadline, "no figure was attached"
        time.sleep(0.5)
    page = visit(f"{address}/dashboard")
    page.get_by_text("hunt / ours").wait_for(timeout=60_000)
    page = visit(f"{address}/dashboard/studies/1/trials?numbers=0")
    page.get_by_text("Trial 3").or_(page.get_by_text("ours · trial 0")).first.wait_for(timeout=60_000)
    picture = page.locator("img[src*='/artifacts/']").first
    picture.wait_for(timeout=60_000)
    assert picture.evaluate("image => image.complete && image.naturalWidth > 500")
    link = page.get_by_role("link", name="seed 0")
    target = link.get_attribute("href")
    assert target.startswith("/run/")
    page = visit(f"{address}{target}")
    page.get_by_text("ours · trial 0").first.wait_for(timeout=60_000)
    page = visit(f"{address}/sweep")
    page.get_by_role("heading", name="Which settings matter").wait_for(timeout=60_000)
    assert visit.outside == []


@pytest.mark.slow
def test_strangers_names_are_refused_and_a_taken_port_is_told(opened: Opened, address: str) -> None:
    assert get(f"{address}/api/studies").status == 200
    for path in ("/api/studies", "/sweep"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(f"{address}{path}", Host="evil.example")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(f"{address}{path}", Origin="https://evil.example")  # such a page could write to the storage
    port = address.rpartition(":")[2]
    command = [sys.executable, "-m", "mtlab", "sweep", "dashboard", "hunt", "--port", port]
    done = subprocess.run(
        [*command, "--store", str(opened.store.root)], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 2
    assert f"port {port} is in use" in done.stderr
    assert "Traceback" not in done.stderr
