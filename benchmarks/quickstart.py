"""What does the whole of quickstart cost, from the start of the command to its report?

    python benchmarks/quickstart.py                    two seeds by the code of a commit, then three by ours
    python benchmarks/quickstart.py --before COMMIT    another commit; "" for none
    python benchmarks/quickstart.py --quick            a tenth of its steps and data

Each runs in a fresh store, with a filled cache of levels. CPU seconds of the launcher and of all its workers. The goal
is what two seeds take by the code before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from alternating import measure
from measurements import ROOT, Row, measurements, parser
from processes import mtlab

from mtlab.config.load import compose, find_study_file

SEEDS = 3
BEFORE, SEEDS_BEFORE = "4252472", 2  #: the last commit of the time when quickstart had two seeds
QUICK = 10  #: one part in so many of steps and data


def run_study(checkout: Path, code: str, seeds: int, words: Sequence[str]) -> Row:
    """Run quickstart by the code of a folder, in a fresh store and a filled cache; return the row of what it took."""
    with by_code_of(checkout), tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as store:
        mtlab("run", "quickstart", "study.seeds=1", *words, "train.length={steps: 1}", "--store", first)()  # fills it
        taken = measure(mtlab("run", "quickstart", f"study.seeds={seeds}", *words, "--store", store))
        costs = [json.loads(path.read_text())["cost"] for path in Path(store).glob("cells/*/s*/result.json")]
    return {
        "code": code,
        "seeds": seeds,
        "CPU s": taken.cpu,
        "CPU s a run": taken.cpu / len(costs),
        "wall s": taken.wall,
        "peak MiB of a worker": max(cost["memory_mib"] for cost in costs),
    }


@contextmanager
def by_code_of(checkout: Path) -> Iterator[None]:
    """Let processes that are started within import mtlab from a folder, wherever they work."""
    known = dict(os.environ)
    os.environ |= {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}  # else the working directory would come first
    try:
        told = [sys.executable, "-c", "import mtlab; print(mtlab.__file__)"]
        found = subprocess.run(told, check=True, capture_output=True, text=True).stdout.strip()
        assert Path(found).is_relative_to(checkout), f"mtlab is imported from {found}, not from {checkout}"
        yield
    finally:
        os.environ.clear()
        os.environ.update(known)


def git(*words: str) -> bytes:
    """Return what git says in our checkout."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout


def tenth() -> list[str]:
    """Return the overrides for a part of quickstart's steps and data."""
    whole = compose(find_study_file("quickstart")).data["set"]
    steps, every = (max(1, each // QUICK) for each in (whole["train"]["length"]["steps"], whole["train"]["eval_every"]))
    words = [f"train.length={{steps: {steps}}}", f"train.eval_every={every}"]
    return [*words, *(f"data.{split}={whole['data'][split] // QUICK}" for split in ("train", "val", "test"))]


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, rounds=1, quick=f"one part in {QUICK} of the steps and data")
    arguments.add_argument("--before", default=BEFORE, metavar="COMMIT", help=f"to compare with (default: {BEFORE})")
    asked = arguments.parse_args()
    words = tenth() if asked.quick else []
    with measurements(asked) as tables, tempfile.TemporaryDirectory() as folder:
        goal = None
        if asked.before:
            subprocess.run(["tar", "-x", "-C", folder], input=git("archive", asked.before), check=True)
            before = run_study(Path(folder), asked.before, SEEDS_BEFORE, words)
            goal = before["CPU s"]
            tables.add("study", [before])
        ours = git("rev-parse", "--short=7", "HEAD").decode().strip()
        tables.add("study", [{**run_study(ROOT, ours, SEEDS, words), "goal, CPU s": goal}])


if __name__ == "__main__":
    main()
