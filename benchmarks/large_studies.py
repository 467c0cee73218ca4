"""How do `plan`, `report`, `status` and the dashboard's first page grow with the runs of a study?

    python benchmarks/large_studies.py [--rounds 7] [--quick]

Runs are made up: files like those of real ones, 3,000 outcomes each. Costs were counted before (five managers, ten
architectures). Commands are processes of their own, from start to end, the sizes in turn; of the dashboard it is what
the server works for its first page, after its start. Exponents are those of the CPU time that comes on top of what a
study of ten runs takes, where that is a tenth of it or more.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from alternating import Seconds, alternate, median, ratio
from fitted import exponent
from imagined import finish, write_study
from measurements import Row, Tables, measurements, parser
from processes import mtlab, mtlab_peak, peak, python

from mtlab.launch.prepare import plan_study
from mtlab.runs.store import Store
from mtlab.studies.plan import run_configs

START = 10  #: runs of the study whose time is that of the start
SEEN = 0.1  #: share of that time by which a study must exceed it to count in the exponent
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
        finish(store, run_configs(plan_study(path, [], plugins=False)))
    return words


def first_page(root: Path, store: str) -> Seconds:
    """Start the dashboard's server side, and measure its first page alone."""
    told = root / "took.json"
    python("-c", f"import sys\n{PAGE}", store, str(told))()
    return Seconds(*json.loads(told.read_text()))


def main() -> None:
    """Measure and print."""
    asked = parser(__doc__, quick="small studies").parse_args()
    plans = (START, 100, 300) if asked.quick else (START, 100, 1_000, 10_000)
    finished = (START, 100, 200) if asked.quick else (START, 100, 300, 1_000)
    with measurements(asked) as tables, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        of_plan = {runs: prepare(root, runs, done=False) for runs in plans}
        of_done = {runs: prepare(root, runs, done=True) for runs in finished}
        work: dict[str, Callable[[], object]] = {
            f"plan {runs}": mtlab("plan", *words) for runs, words in of_plan.items()
        }
        for command in ("report", "status"):
            work |= {f"{command} {runs}": mtlab(command, *words) for runs, words in of_done.items()}
        taken = alternate(work, asked.rounds)
        for _ in range(asked.rounds):
            for runs, words in of_done.items():
                taken.setdefault(f"first page {runs}", []).append(first_page(root, words[-1]))
        memory = {f"plan {runs}": mtlab_peak("plan", *words) for runs, words in of_plan.items()}
        for command in ("report", "status"):
            memory |= {f"{command} {runs}": mtlab_peak(command, *words) for runs, words in of_done.items()}
        memory |= {f"first page {runs}": peak(PAGE, words[-1], f"{root}/took.json") for runs, words in of_done.items()}
        show(tables, taken, memory)


def show(tables: Tables, taken: Mapping[str, list[Seconds]], memory: Mapping[str, float]) -> None:
    """Make a row for each size, and one for each exponent."""
    rows: list[Row] = []
    growth: list[Row] = []
    for what in ("plan", "report", "status", "first page"):
        sizes = [int(name.rpartition(" ")[2]) for name in memory if name.rpartition(" ")[0] == what]
        start = taken[f"{what} {START}"]
        for runs in sizes:
            seconds = taken[f"{what} {runs}"]
            rows.append(
                {
                    "what": what,
                    "runs": runs,
                    f"CPU / {START} runs": ratio(seconds, start),
                    "CPU s": median(seconds),
                    "goal, CPU s": GOALS.get((what, runs)),
                    "peak MiB": memory[f"{what} {runs}"],
                }
            )
        above = {runs: median(taken[f"{what} {runs}"]) - median(start) for runs in sizes[1:]}
        grown = {runs: more for runs, more in above.items() if more > SEEN * median(start)}
        if len(grown) > 1:
            growth.append({"what": what, "exponent": exponent([*grown], [*grown.values()])})
    tables.add("sizes", rows)
    tables.add("growth", growth)


if __name__ == "__main__":
    main()
