"""What the command line prints where the terminal cannot show everything, and where it is stopped."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_study import write_study

from mtlab import cli
from mtlab.cli import terminal


def test_output_falls_back_to_what_the_terminal_can_show(tmp_path: Path) -> None:
    """The study file is read as UTF-8 all the same."""
    file = write_study(tmp_path, "why: Größer als 5 → π?\naxes: {manager: [bridge, static]}\nseeds: 2")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "mtlab", "plan", str(file)]
    done = subprocess.run(command, env={**os.environ, **locale}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Größer als 5 -> ?" in done.stdout.decode("latin-1")


def test_letters_of_tables_have_a_replacement() -> None:
    terminal.encode_everything()
    letters = "6.2 ± 0.1 · 3 × 4 – – ★ ● ß"
    shown = letters.encode("ascii", "mtlab").decode()
    assert shown == "6.2 +- 0.1 - 3 x 4 - - * o ss"


def test_a_working_folder_that_was_removed_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = "import os, sys; os.rmdir(os.getcwd()); from mtlab.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "plan", "quickstart"]
    done = subprocess.run(command, cwd=gone, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: the working folder is gone: change to one that exists\n"


def test_ctrl_c_while_the_command_line_is_loaded_is_quiet() -> None:
    slow = "import sys, time; sys.meta_path.insert(0, type('Slow', (), {'find_spec': lambda *_: time.sleep(0.2)})())"
    script = f"import mtlab.__main__ as entry; print('here', flush=True); {slow}; entry.main()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said) == (-signal.SIGINT, "")


def test_an_interrupt_within_another_error_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrapped(**_: object) -> None:
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    monkeypatch.setattr(cli, "app", wrapped)
    assert cli.main() == 130


def test_an_error_of_the_disk_is_one_line_wherever_it_is_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(cli, "app", lambda **_: tmp_path.read_bytes())
    assert cli.main() == 2
    assert (
        capsys.readouterr().err
        == f"error: {tmp_path}: cannot be written: is a folder (expected a file): move it away\n"
    )


@pytest.mark.parametrize("command", [["list"], ["schema", "study"], ["plan", "FILE", "--json"]])
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, command: list[str]) -> None:
    """As in `mtlab list | head -1`: rich and typer make an exit of it, each in its own way."""
    file = write_study(tmp_path, "axes: {manager: [bridge, static]}\nseeds: 2")
    words = [str(file) if word == "FILE" else word for word in command]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "mtlab", *words], stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_said_to_a_terminal_that_was_closed_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    with open(follower, "w") as closed:
        for name in ("stdout", "__stdout__"):
            monkeypatch.setattr(sys, name, closed)
        terminal.outlive_readers()
        os.close(leader)
        print("stopping", flush=True)
        print("stopped", flush=True)


def test_ctrl_c_that_ends_the_reader_too_lets_the_run_end_with_a_checkpoint(tmp_path: Path) -> None:
    """As in `mtlab run study.yaml | tee log`: both get the signal."""
    length = "set: {train: {length: {steps: 200000}, eval_every: 100000, checkpoint_every: 50000}}"
    file = write_study(tmp_path, f"{length}\naxes: {{manager: [static]}}\nseeds: 1")
    store = tmp_path / "runs"
    command = [sys.executable, "-m", "mtlab", "run", str(file), "--store", str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(600):
            if any(each.stat().st_size for each in store.glob("cells/*/s0/metrics.jsonl")):
                break
            time.sleep(0.2)
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 130
    assert "interrupted; the same command goes on from here" in said
    assert '"event": "end"' in next(store.glob("studies/*/launch.jsonl")).read_text()
    assert list(store.glob("cells/*/s0/checkpoints/*"))
