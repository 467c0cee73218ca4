"""What docs/security.md promises of the whole source, and what no other test looks after."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tiny_study import write_study

from mtlab.cli import main
from mtlab.config.credentials import find_credentials

SOURCE = Path(__file__).parents[1]
#: calls that run what a file holds, and where one of them is allowed
DANGEROUS = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "marshal.loads", "shelve.open", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "joblib.load", "dill.load",
}  # fmt: skip
SHELL = {"mtlab/data/shards/pipe.py"}  #: pipe:COMMAND, which the user must allow


@cache
def calls() -> list[tuple[str, str, ast.Call]]:
    """Give every call in the source: file, what is called, and the call."""
    return list(_calls())


def _calls() -> Iterator[tuple[str, str, ast.Call]]:
    for folder in ("mtlab", "analysis"):
        for path in sorted((SOURCE / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield str(path.relative_to(SOURCE)), ast.unparse(node.func), node


def given(call: ast.Call, name: str) -> str:
    return next((ast.unparse(each.value) for each in call.keywords if each.arg == name), "")


def test_nothing_that_runs_what_a_file_holds_is_called() -> None:
    found = calls()
    assert len(found) > 5000
    assert [(file, name) for file, name, _ in found if name in DANGEROUS] == []
    loads = [(file, call) for file, name, call in found if name in ("torch.load", "np.load", "numpy.load")]
    assert loads
    for file, call in loads:
        assert given(call, "weights_only") == "True" or given(call, "allow_pickle") == "False", file
    folders = [(file, call) for file, name, call in found if re.match(r"Auto\w+\.from_pretrained", name)]
    assert len(folders) > 5
    for file, call in folders:  # transformers would ask the terminal whether to run a folder's code
        told = ast.unparse(call)
        assert "NO_CODE" in told or "**source" in told or given(call, "trust_remote_code") == "False", file


def test_no_shell_is_started_but_for_a_pipe() -> None:
    assert {file for file, _, call in calls() if given(call, "shell") == "True"} == SHELL


def test_no_archive_is_unpacked_by_the_names_of_its_members() -> None:
    names = ("extract", "extractall", "unpack_archive")
    assert [(file, name) for file, name, _ in calls() if name.rpartition(".")[2] in names and "." in name] == []


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("{name: shards, folder: 'pipe:touch MARK; cat {}', allow_pipe: true}", "set MTLAB_ALLOW_PIPE=1"),
        ("{name: shards, folder: 'pipe:touch MARK; cat {}'}", "runs a command"),
        ("!!python/object/apply:os.system ['touch MARK']", "data"),
        ("{name: '${oc.env:HOME}'}", "resolvers"),
    ],
)
def test_a_study_runs_no_command(
    setting: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "ran"
    data = setting.replace("MARK", str(mark))
    study = write_study(tmp_path, f"set: {{data: {data}}}\naxes: {{manager: [last, bridge]}}")
    monkeypatch.delenv("MTLAB_ALLOW_PIPE", raising=False)
    monkeypatch.setattr(sys, "argv", ["mtlab", "plan", str(study)])
    assert main() == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.strip().splitlines()) == 1
    assert not mark.exists()


SECRET = "Xq7" * 12


@pytest.mark.parametrize(
    ("text", "key", "told"),
    [
        (
            f"set: {{data: {{name: shards, folder: 'https://me:{SECRET}@host/x'}}}}",
            "set.data.folder",
            "a password in a URL",
        ),
        (
            f"set: {{data: {{name: shards, folder: 'https://host/x?a=1&X-Amz-Signature={SECRET}'}}}}",
            "set.data.folder",
            "URL",
        ),
        (f"launcher: {{name: slurm, setup: ['export WANDB_API_KEY={SECRET}']}}", "launcher.setup[0]", "environment"),
        (
            f"set: {{data: {{name: shards, folder: 'https://host/x?sv=2024&sig={SECRET}'}}}}",
            "set.data.folder",
            "a key in a URL",
        ),
        (f"set: {{data: {{name: shards, folder: 'https://ghp_{SECRET}@host/x'}}}}", "set.data.folder", "URL"),
        (f"set: {{data: {{name: shards, folder: 'https://me:a${SECRET}@host/x'}}}}", "set.data.folder", "password"),
        (
            f"set: {{data: {{name: shards, folder: 'pipe: curl -u me:{SECRET} https://host/{{}}'}}}}",
            "set.data.folder",
            "a key in a command",
        ),
        (f"launcher: {{name: slurm, setup: ['export WANDB_KEY = {SECRET}']}}", "launcher.setup[0]", "environment"),
        (f"tracking: {{mine: {{api_key: '{SECRET}'}}}}", "tracking.mine.api_key", "a secret, by its name"),
        (f"why: with hf_{SECRET}", "why", "a key of Hugging Face"),
    ],
)
def test_a_study_with_a_secret_is_refused_before_anything_is_written(
    text: str, key: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study, store = write_study(tmp_path, text), tmp_path / "runs"
    monkeypatch.setattr(sys, "argv", ["mtlab", "plan", str(study), "--store", str(store)])
    assert main() == 2
    error = capsys.readouterr().err
    assert f"{key}: holds" in error
    assert told in error
    assert SECRET not in error
    assert [path for path in store.rglob("*") if path.is_file() and SECRET in path.read_text()] == []


def test_what_only_resembles_a_secret_is_no_secret() -> None:
    harmless = ["https://host:8080/x@2", "export HF_TOKEN=$TOKEN", "tokens = 3", "s3://bucket/token", "hf_hub", "a:b@c"]
    harmless += ["postgresql://me:$PGPASSWORD@host/x", "https://host/x?key=$KEY", "keys=3", "git@host:me/x", "-u me:x"]
    assert [*find_credentials({"why": harmless, "set": {"train": {"lr": 1e-3}}})] == []


@pytest.mark.slow
def test_secrets_of_the_environment_reach_neither_store_nor_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "s3cr3t-of-the-environment"
    for name in ("WANDB_API_KEY", "PGPASSWORD", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, secret)
    study = write_study(tmp_path, "axes: {manager: [last]}\nset: {train: {length: {steps: 2}}}")
    store = tmp_path / "runs"
    for command in ("plan", "run"):
        monkeypatch.setattr(sys, "argv", ["mtlab", command, str(study), "--store", str(store), "study.seeds=1"])
        assert main() == 0
    told = capsys.readouterr()
    assert secret not in told.out + told.err
    written = [path for path in store.rglob("*") if path.is_file()]
    assert any(path.name == "state.json" for path in written)
    assert [path for path in written if secret.encode() in path.read_bytes()] == []
