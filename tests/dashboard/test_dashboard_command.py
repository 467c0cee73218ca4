"""`mtlab dashboard` as users start and stop it."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtlab.cli import main
from mtlab.dashboard import server
from mtlab.dashboard.server import is_foreign
from mtlab.runs.store import Store

Started = tuple[subprocess.Popen[str], str, list[str]]
Start = Callable[..., Started]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: object) -> Started:
        """Start it; give the process, its address, and the lines that it printed."""
        command = [sys.executable, "-u", "-m", "mtlab", "dashboard", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        running.append(process)
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if "Ctrl-C" in line:
                break
        found = re.search(r"http://\S+/", "".join(lines))
        return process, found[0] if found else "", lines

    yield begin
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held.getsockname()[1]


def get(address: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, "", dict(error.headers)


def test_it_serves_until_it_is_interrupted(tmp_path: Path, start: Start) -> None:
    Store.open(tmp_path / "runs", create=True)
    process, address, lines = start("--store", tmp_path / "runs")
    assert address.startswith("http://127.0.0.1:80")
    assert lines[0].startswith(f"dashboard of {tmp_path / 'runs'} (0 studies): ")
    assert "the store is empty: `mtlab run quickstart --store " in lines[1]
    assert not any("warning" in line.lower() for line in lines)
    status, page, headers = get(address)
    assert status == 200
    assert "Skip to the content" in page
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert get(address, Host="evil.example:8050")[0] == 403
    assert get(address, Host="localhost")[0] == 200
    assert get(address, Origin="https://evil.example")[0] == 403
    assert get(address, Origin=address.rstrip("/"))[0] == 200
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, "stopped\n")


@pytest.mark.parametrize(
    ("host", "origin", "local", "foreign"),
    [
        ("localhost:8050", None, True, False),
        ("[::1]:8050", "http://[::1]:8050", True, False),
        ("127.0.0.1:9000", "http://127.0.0.1:9000", True, False),  # through a tunnel
        ("evil.example:8050", None, True, True),
        ("evil.example", None, True, True),
        ("", None, True, True),
        ("[", None, True, True),
        ("localhost:8050", "http://localhost:3000", True, True),  # another server of this machine
        ("localhost:8050", "null", True, True),  # a page in a sandbox
        ("lab.example", "http://lab.example", False, False),
        ("lab.example", "http://evil.example", False, True),
    ],
)
def test_requests_of_other_sites_are_foreign(host: str, origin: str | None, local: bool, foreign: bool) -> None:
    assert is_foreign(host, origin, local=local) == foreign


def test_without_a_port_the_next_free_one_is_taken(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(tmp_path / "runs", create=True)
    _, first, _ = start("--store", tmp_path / "runs")
    _, second, _ = start("--store", tmp_path / "runs")
    assert first != second
    assert get(second)[0] == 200


def test_a_host_of_others_is_warned_of(tmp_path: Path, start: Start) -> None:
    Store.open(tmp_path / "runs", create=True)
    _, address, lines = start("--store", tmp_path / "runs", "--host", "0.0.0.0")
    assert lines[1].startswith("warning: everybody who reaches 0.0.0.0 on port")
    assert get(address.replace("0.0.0.0", "127.0.0.1"), Host="lab.example")[0] == 200


DOCS = Path(__file__).parents[2] / "docs/dashboard.md"
SHOWN = re.findall(r"^(?:`)?mtlab dashboard([^`#\n]*)", DOCS.read_text(), re.MULTILINE)


@pytest.mark.parametrize("options", SHOWN)
def test_commands_in_the_docs_serve(tmp_path: Path, start: Start, options: str) -> None:
    Store.open(tmp_path / "runs", create=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    words = options.replace("/data/runs", str(tmp_path / "runs")).replace("9000", port).split()
    _, address, _ = start(*words, *([] if "--store" in words else ["--store", tmp_path / "runs"]))
    assert get(address.replace("0.0.0.0", "127.0.0.1"))[0] == 200


def test_the_docs_show_commands() -> None:
    assert len(SHOWN) >= 4


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["mtlab", "dashboard", *map(str, arguments)])
    assert main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_a_port_in_use_is_told_with_the_next_free_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], taken: int
) -> None:
    Store.open(tmp_path / "runs", create=True)
    line = refused(monkeypatch, capsys, "--store", tmp_path / "runs", "--port", taken)
    found = re.search(r"port (\d+) is in use: try --port (\d+)", line)
    assert found is not None
    assert int(found[1]) == taken
    with socket.create_server(("127.0.0.1", int(found[2]))):
        pass  # it is free indeed


def test_wrong_input_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "`mtlab run FILE` makes one" in refused(monkeypatch, capsys, "--store", tmp_path / "nowhere")
    Store.open(tmp_path / "runs", create=True)
    at = ("--store", tmp_path / "runs")
    assert "is no address of this machine" in refused(monkeypatch, capsys, *at, "--host", "203.0.113.9")
    assert "is no address of this machine" in refused(monkeypatch, capsys, *at, "--host", "no such host")
    assert "65535" in refused(monkeypatch, capsys, *at, "--port", "99999")


def test_without_dash_the_extra_is_named(tmp_path: Path) -> None:
    Store.open(tmp_path / "runs", create=True)
    script = (
        "import sys; sys.modules['dash'] = None; sys.argv = ['mtlab', 'dashboard']; "
        "from mtlab.cli import main; sys.exit(main())"
    )
    environment = {**os.environ, "MTLAB_STORE": str(tmp_path / "runs")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "error: the dashboard needs the package dash: pip install 'mtlab[dashboard]'\n",
    )


def test_help_teaches_without_dash_or_torch() -> None:
    script = (
        "import sys; sys.modules['dash'] = sys.modules['torch'] = None; sys.argv = ['mtlab', 'dashboard', '--help']; "
        "from mtlab.cli import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for word in ("--port", "--host", "--store", "mtlab[dashboard]"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("lab", False)],
)
def test_what_is_reached_from_this_machine_alone(host: str, local: bool) -> None:
    assert server.is_local(host) == local
