"""Wrong input on the command line, and commands that must not wait for torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mtlab.cli import main
from mtlab.errors import UserError
from mtlab.resolution.catalog import KINDS
from mtlab.runs.store import State, Store


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["mtlab", *map(str, arguments)])
    code = main()
    return code, capsys.readouterr().err.strip()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["polt"], "No such command 'polt'"),
        (["plan"], "Missing argument 'FILE'"),
        (["plan", "quickstrat"], "quickstrat: no such file, and no recipe of that name; did you mean 'quickstart'?"),
        (["plan", "nothere.yaml"], "nothere.yaml: no such file"),
        (["plan", "quickstart", "train.lr"], "command line: 'train.lr': expected key=value"),
        (["plan", "quickstart", "trian.lr=1"], "command line: trian: unknown key; did you mean 'train'?"),
        (["plan", "quickstart", "train.lr=-1"], "command line: train.lr: -1.0 is out of range: must be above 0"),
        (["plan", "quickstart", "manager=last"], "command line: manager: would be wiped by axis 'manager'"),
        (["plan", "quickstart", "study.seds=3"], "command line: seds: unknown key; did you mean 'seeds'?"),
        (["plan", "quickstart", "text.model=x"], "text tower 'minilm' has no such option"),
        (["plan", "quickstart", "study.metrics.verdict=test/bleu"], "has a metric 'test/bleu'; metrics: cost/flops, "),
        (["run", "quickstart", "--workers", "none"], "Invalid value for '--workers'"),
        (["run", "quickstart", "--workers", "0"], "Invalid value for '--workers'"),
        (["run", "quickstart", "--fail-fast", "--keep-going"], "contradict each other"),
        (["run", "quickstart", "train.device=tpu"], "train.device: 'tpu' is "),
        (["status", "nothing"], "no store here"),
        (["report", "quickstart"], "no store here"),
        (["list", "managr"], "'managr' is not one of 'managers'"),
        (["list", "managers", "adptive"], "unknown manager 'adptive'; did you mean 'adaptive'?"),
        (["plan", "quickstart", "--store", "/dev/null/x"], "/dev/null"),
    ],
)
def test_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    code, line = told(monkeypatch, capsys, *arguments)
    assert code == 2
    assert expected in line
    assert line.startswith("error: ")
    assert "\n" not in line


def test_a_store_of_the_future_and_a_folder_that_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new/store.json").write_text(json.dumps({"format": 99}))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").touch()
    for name, expected in (("new", "has format 99"), ("photos", "is a folder, but not a store")):
        code, line = told(monkeypatch, capsys, "plan", "quickstart", "--store", tmp_path / name)
        assert (code, expected in line) == (2, True), line


def test_a_plan_that_the_disk_cannot_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from mtlab.studies import plan_status

    monkeypatch.setattr(plan_status, "free_bytes", lambda _: 1000)
    code, line = told(monkeypatch, capsys, "run", "quickstart", "--store", tmp_path / "s")
    assert code == 2
    assert "missing runs need about" in line
    assert not (tmp_path / "s/cells").exists()


def test_a_disk_needs_room_for_the_runs_that_train_at_once_and_what_finished_ones_keep(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mtlab.studies import plan_status

    store = Store.open(tmp_path / "s", create=True)
    plan = {"runs": [{"id": str(seed), "cost": {"trained_params": 100 + seed}} for seed in range(10)]}
    states: dict[str, State] = dict.fromkeys(map(str, range(10)), "new") | {"0": "done"}
    needed = 4 * (sum(range(101, 110)) + 4 * (109 + 108))
    monkeypatch.setattr(plan_status, "free_bytes", lambda _: needed)
    plan_status.refuse_full_disk(plan, states, store, at_once=2)
    monkeypatch.setattr(plan_status, "free_bytes", lambda _: needed - 1)
    with pytest.raises(UserError, match="the 9 missing runs need about"):
        plan_status.refuse_full_disk(plan, states, store, at_once=2)


@pytest.mark.parametrize("kind", KINDS)
def test_list_knows_every_kind(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    monkeypatch.setattr(sys, "argv", ["mtlab", "list", kind, "--json"])
    assert main() == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries
    assert all(entry["summary"] for entry in entries)
    assert all(option["help"] for entry in entries for option in entry.get("options", []))
    monkeypatch.setattr(sys, "argv", ["mtlab", "list", kind, entries[0]["name"]])
    assert main() == 0
    assert entries[0]["name"] in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["report", "quickstart"]])
def test_what_only_reads_never_imports_torch(tmp_path: Path, arguments: list[str]) -> None:
    store = Store.open(tmp_path / "runs", create=True)
    monkey = "import sys; sys.argv = ['mtlab', *{!r}]; from mtlab.cli import main; code = main(); "
    script = monkey.format(arguments) + "print('torch' in sys.modules, 'transformers' in sys.modules)"
    if arguments[0] == "report":
        subprocess.run(
            [sys.executable, "-m", "mtlab", "plan", "quickstart", "--store", str(store.root)],
            check=True,
            capture_output=True,
        )
    environment = {"MTLAB_STORE": str(store.root), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "False False"
