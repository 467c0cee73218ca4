"""docs/your-own-questions.md as a new user would follow it: its files written, its commands run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars
import pytest

from mtlab.data.datasets.questions import Questions

PAGE = (Path(__file__).parents[2] / "docs/your-own-questions.md").read_text()
FILES: dict[str, str] = dict(re.findall(r'```\w+ title="(.*?)"\n(.*?)```', PAGE, re.DOTALL))
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
#: takes the place of the real towers, and of most of the training
TINY = (
    " 'text={name: tiny_text, depth: 3, width: 16}' 'vision={name: tiny_vision, depth: 3, width: 16}' model.width=16"
    " 'train.length={steps: 6}' train.eval_every=3 study.seeds=1 'study.axes={manager: [last]}'"
)
Shell = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Write the page's files, and run commands beside them, with this Python and its `mtlab` first on the path."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def call(command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": path, "COLUMNS": "160"}
        return subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=900
        )

    return call


@pytest.mark.slow
def test_the_page_on_tiny_towers(shell: Shell, tmp_path: Path) -> None:
    make, plan, run, report, _ = COMMANDS
    assert shell(make).returncode == 0
    file = tmp_path / "my-questions/questions.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]

    # One question of the test part gets an answer that training lacks.
    tested = Questions(Questions.Config(folder=str(file.parent))).examples("test")
    asked = next(line for line in lines if line["image"] == tested[0].image)
    asked["answer"] = "crimson"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = shell(run + TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    remark = f"data: 1 of {len(tested)} test questions (1.2 %) have an answer that cannot be chosen, such as 'crimson'"
    assert remark in done.stdout
    rows = json.loads(shell(f"{report} --json").stdout)["rows"]
    assert [(row["label"], row["n"]) for row in rows] == [("last", 1)]
    (parquet,) = Path(os.environ["MTLAB_STORE"]).glob("cells/*/s0/examples.parquet")
    outcome = polars.read_parquet(parquet).filter(polars.col("id") == tested[0].id).row(0, named=True)
    assert (outcome["target"], outcome["score"], outcome["family"]) == (-1, 0.0, tested[0].family)

    # The data move, and are found again.
    file.parent.rename(tmp_path / "moved")
    gone = shell("mtlab intervene my-questions:last:0 --again")
    assert gone.returncode == 2
    assert "its data cannot be read (" in gone.stderr
    assert "no such folder): if they have moved, put them back" in gone.stderr
    again = shell("mtlab eval my-questions:last:0 --split test --data folder=moved --json")
    assert again.returncode == 0, again.stderr
    evaluated = json.loads(again.stdout)
    assert evaluated["own_data"]
    scores = polars.read_parquet(parquet).filter(polars.col("split") == "test")["score"]
    assert evaluated["metrics"]["test/accuracy"] == scores.mean()
    (tmp_path / "moved").rename(file.parent)

    # The mistake that the page shows, as the page shows it.
    lines[6]["answer"] = 3
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (shown,) = re.findall(r"```console\n\$ mtlab plan my-questions.yaml\n(.*?)\n```", PAGE)
    assert shell(plan + TINY).stderr.strip() == shown.replace("/home/me", str(tmp_path))


@pytest.mark.slow
def test_the_page_as_written(shell: Shell) -> None:
    for command in COMMANDS:
        done = shell(command)
        assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(shell(f"{COMMANDS[3]} --json").stdout)["rows"]
    assert [row["n"] for row in rows] == [2, 2]
    assert all(row["mean"] > 0.6 for row in rows), rows  # words alone: 0.44
