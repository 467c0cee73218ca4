"""How do `plan`, `report`, `status` and the dashboard's first page grow with the runs of a study?

    python benchmarks/large_studies.py [--rounds 7] [--quick] [--json FILE]

Runs are made up: files like those of real ones, 3,000 outcomes each. Costs were counted before (five managers, ten
architectures). Commands are processes of their own, from start to end, the sizes in turn; of the dashboard it is what
the server works for its first page, after its start. Exponents are those of the CPU time that comes on top of what a
study of ten runs takes.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from alternating import Seconds, alternate, machine, median
from fitted import exponent
from imagined import finish, write_study
from processes import mtlab, mtlab_peak, peak, python

from mtlab.launch.prepare import plan_study
from mtlab.runs.store import Store
from mtlab.studies.plan import run_configs

START = 10  #: runs of the study whose time is that of the start
PAGE = """
from mtlab.dashboard.app import render_page
from mtlab.dashboard.dashboard_data import DashboardData
from mtlab.dashboard.page import PageRequest
from mtlab.dashboard.address import PageAddress
import json, pathlib, time
data = DashboardData(pathlib.Path(sys.argv[1]))
began = time.perf_counter(), time.process_time()
page = render_page(PageRequest(data, PageAddress.parse("/", "")), None)
json.dumps(page, default=lambda part: part.to_plotly_json())
took = time.process_time() - began[1], time.perf_counter() - began[0]
data.close()
pathlib.Path(sys.argv[2]).write_text(json.dumps(took))
"""
GOALS = {("plan", 10_000): 10.0, ("report", 1_000): 5.0, ("first page", 1_000): 2.0}  #: (what, runs) → seconds


def prepare(root: Path, runs: int, *, done: bool) -> list[str]:
    """Plan a study of so many runs, and finish them; return the words that name it and its store."""
    folder = root / f"{runs}{'-done' * done}"
    folder.mkdir()
    cells = max(10, runs // 10)
    path = write_study(folder, cells, runs // cells)
    store = Store.open(folder / "store", create=True)
    words = [str(path), "--store", str(store.root)]
    mtlab("plan", *words)()
    if done:
        finish(store, run_configs(plan_study(path, [], store, plugins=False)))
    return words


def first_page(root: Path, store: str) -> Seconds:
    """Start the dashboard's server side, and measure its first page alone."""
    told = root / "took.json"
    python("-c", f"import sys\n{PAGE}", store, str(told))()
    return Seconds(*json.loads(told.read_text()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small studies, three rounds")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    asked = parser.parse_args()
    rounds = 3 if asked.quick else asked.rounds
    plans = (START, 100, 300) if asked.quick else (START, 100, 1_000, 10_000)
    finished = (START, 100, 200) if asked.quick else (START, 100, 300, 1_000)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        of_plan = {runs: prepare(root, runs, done=False) for runs in plans}
        of_done = {runs: prepare(root, runs, done=True) for runs in finished}
        work: dict[str, Callable[[], object]] = {
            f"plan {runs}": mtlab("plan", *words) for runs, words in of_plan.items()
        }
        for command in ("report", "status"):
            work |= {f"{command} {runs}": mtlab(command, *words) for runs, words in of_done.items()}
        taken = alternate(work, rounds)
        for _ in range(rounds):
            for runs, words in of_done.items():
                taken.setdefault(f"first page {runs}", []).append(first_page(root, words[-1]))
        memory = {f"plan {runs}": mtlab_peak("plan", *words) for runs, words in of_plan.items()}
        for command in ("report", "status"):
            memory |= {f"{command} {runs}": mtlab_peak(command, *words) for runs, words in of_done.items()}
        memory |= {f"first page {runs}": peak(PAGE, words[-1], f"{root}/took.json") for runs, words in of_done.items()}
    show(taken, memory)
    if asked.json:
        numbers = {name: {"cpu": median(each), "wall": median(each, "wall")} for name, each in taken.items()}
        asked.json.write_text(json.dumps({"machine": machine(), "seconds": numbers, "memory_mib": memory}, indent=1))


def show(taken: dict[str, list[Seconds]], memory: dict[str, float]) -> None:
    """Print a line for each size, and the exponents."""
    print(machine())
    print(f"{'':12} {'runs':>7} {'CPU s':>7} {'wall s':>7} {'goal s':>7} {'MiB':>6}")
    for what in ("plan", "report", "status", "first page"):
        sizes = [int(name.rpartition(" ")[2]) for name in memory if name.rpartition(" ")[0] == what]
        for runs in sizes:
            seconds = taken[f"{what} {runs}"]
            goal = f"{GOALS[what, runs]:7.1f}" if (what, runs) in GOALS else " " * 7
            cpu, wall, used = median(seconds), median(seconds, "wall"), memory[f"{what} {runs}"]
            print(f"{what:12} {runs:7} {cpu:7.2f} {wall:7.2f} {goal} {used:6.0f}")
        start = median(taken[f"{what} {START}"])
        above = [max(median(taken[f"{what} {runs}"]) - start, 1e-3) for runs in sizes[1:]]
        print(f"{what:12} grows with runs^{exponent(sizes[1:], above):.2f} beyond its start")


if __name__ == "__main__":
    main()
