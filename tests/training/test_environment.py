import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mtlab.errors import UserError
from mtlab.training import environment
from mtlab.training.interrupt import Interrupted, Interrupts


def test_auto_takes_what_there_is() -> None:
    assert environment.choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert environment.choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("wanted", "index"), [("auto", 0), ("cuda", 0), ("cuda:1", 1)])
def test_a_gpu_has_its_number_which_torch_asks_for(wanted: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert environment.choose_device(wanted) == torch.device("cuda", index)
    assert environment.choose_device(wanted).index == index


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", "cuda:x"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(UserError) as caught:
        environment.choose_device(name)
    assert caught.value.key == "train.device"
    assert name in caught.value.problem


def test_the_state_names_versions_without_importing() -> None:
    state = environment.describe_attempt(3, torch.device("cpu"), 1)
    assert (state["attempt"], state["pid"], state["device"], state["threads"]) == (3, os.getpid(), "cpu", 1)
    assert state["versions"]["python"] == sys.version.split()[0]
    assert state["versions"]["transformers"]


def test_no_commit_is_named_outside_of_a_working_tree(tmp_path: Path) -> None:
    assert environment.read_git(tmp_path) is None


def test_a_signal_raises_at_once_or_waits() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        interrupts.check()
        with interrupts.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # the launcher was stopped, too, and passed its own on
            assert signal.getsignal(signal.SIGINT) == signal.default_int_handler  # Ctrl-C ends it at once from here on
            with pytest.raises(Interrupted) as caught:
                interrupts.check()
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    with Interrupts(), pytest.raises(Interrupted) as caught:
        os.kill(os.getpid(), signal.SIGINT)
    assert caught.value.exit_code == 130


def test_the_peak_of_a_process_is_its_own_and_not_that_of_who_started_it() -> None:
    peak = "import torch; from mtlab.training import environment as e; print(e.peak_memory_mib(torch.device('cpu')))"
    large = f"import subprocess, sys; held = b'x' * 2**31; subprocess.run([sys.executable, '-c', {peak!r}], check=True)"
    done = subprocess.run([sys.executable, "-c", large], check=True, capture_output=True, text=True)
    assert 50 < float(done.stdout) < 2000
