"""docs/your-own-manager.md as a new user would follow it: every block written, every command run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/your-own-manager.md").read_text()
FILES: dict[str, str] = dict(re.findall(r'```\w+ title="(.*?)"\n(.*?)```', PAGE, re.DOTALL))
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
TUNED = [command for command in COMMANDS if "tuned" in command]
ALONE = [command for command in COMMANDS if command not in TUNED]
#: takes the place of the real towers, and of most of the training
TINY = (
    " 'text={name: tiny_text, depth: 6, width: 16}' 'vision={name: tiny_vision, depth: 5, width: 16}' model.width=16"
    " data.train=64 data.val=32 data.test=32 'train.length={steps: 4}' train.eval_every=2"
)
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Write the page's files, and run commands beside them, with this Python and its `mtlab` first on the path."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def call(command: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": path, "COLUMNS": "160", **more}
        return subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=900
        )

    return call


def test_the_page_holds_what_the_test_expects() -> None:
    assert set(FILES) == {
        "my_manager.py",
        "salience.yaml",
        "salience-tuned.yaml",
        "test_my_manager.py",
        "pyproject.toml",
    }
    assert [command.split()[:2] for command in COMMANDS] == [
        ["mtlab", "list"],
        ["mtlab", "check"],
        ["mtlab", "plan"],
        ["mtlab", "run"],
        ["mtlab", "report"],
        ["mtlab", "sweep"],
        ["mtlab", "sweep"],
        ["mtlab", "report"],
        ["python", "-m"],
    ]


@pytest.mark.slow
def test_the_page_as_written(shell: Shell) -> None:
    *commands, test = ALONE  # the minute in which the manager is compiled to machine code is left out
    listed, checked, planned, run, reported, tested = map(shell, [*commands, f"{test} -k 'not inductor'"])
    assert "divides the scores" in listed.stdout, listed.stderr
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 broken" in checked.stdout
    assert "salience (mine)" in planned.stdout, planned.stderr
    assert run.returncode == 0, run.stdout + run.stderr
    assert reported.returncode == 0
    report = json.loads(shell("mtlab report salience.yaml --json").stdout)
    means = {row["label"]: row["mean"] for row in report["rows"]}
    assert [row["n"] for row in report["rows"]] == [2, 2, 2]
    assert means["salience (mine)"] > 0.9 > 0.5 > means["last"], means  # it finds the layer; the top one says nothing
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout


@pytest.mark.slow
def test_the_tuned_comparison_on_tiny_towers(shell: Shell) -> None:
    plan, sweep, report = TUNED
    planned = shell(plan)
    assert planned.returncode == 0, planned.stderr
    assert "salience" in planned.stdout
    assert "12 runs" in planned.stdout
    done = shell(f"{sweep}{TINY} study.budget.trials=1 study.finally.seeds=2")
    assert done.returncode == 0, done.stdout + done.stderr
    ranked = shell(report)
    assert ranked.returncode == 0, ranked.stderr
    rows = json.loads(shell(f"{report.partition(' --by')[0]} --json").stdout)["rows"]
    assert [(row["label"], row["n"]) for row in rows] == [
        (label, 2) for label in ("bridge 1 3 4", "static", "salience", "image level 3")
    ]


@pytest.mark.slow
def test_as_an_installed_package(shell: Shell, tmp_path: Path) -> None:
    """The entry point as the page's pyproject declares it, without downloading a build backend."""
    point = re.search(r'\[project.entry-points."(.*?)"\]\n(\w+) = "(\w+)"', FILES["pyproject.toml"])
    assert point is not None
    info = tmp_path / "mtlab_salience-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mtlab-salience\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[{point[1]}]\n{point[2]} = {point[3]}\n")
    (info / "top_level.txt").write_text("my_manager\n")
    assert any(found.name == "mtlab-salience" for found in metadata.distributions(path=[str(tmp_path)]))
    here = {"PYTHONPATH": str(tmp_path)}
    listed = shell("mtlab list managers salience", **here)
    assert listed.returncode == 0, listed.stderr
    found = json.loads(shell("mtlab doctor --json", **here).stdout)
    (row,) = [row for row in found["registered"] if row["plugin"]]
    assert (row["name"], row["origin"], row["package"]) == ("salience", "my_manager", "mtlab-salience 0.1.0")
    (tmp_path / "my_manager.py").write_text("raise RuntimeError('no licence')\n")
    broken = shell("mtlab doctor", **here)
    assert broken.returncode == 1
    assert "RuntimeError: no licence (my_manager.py:1)" in broken.stdout
    named = shell("mtlab list managers salience", **here)
    assert named.returncode == 2
    assert "plug-in my_manager failed: RuntimeError: no licence (my_manager.py:1)); see `mtlab doctor`" in named.stderr
