"""How long do commands take that people wait for: `--help`, `status`, `list`, `plan`?

    python benchmarks/startup.py [--rounds 9] [--quick]

Each is a process of its own, all in turn. `plan quickstart` is cold in a store that knows nothing, and warm in one that
has counted its costs before. Beside each stands what it is a multiple of: Python's start, and importing torch, which
`list` and `plan` cannot do without.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from alternating import alternate, machine, median, ratio
from processes import mtlab, python

GOALS = {"mtlab --help": 0.5, "mtlab status": 0.5, "mtlab list": 5.0, "plan, cold": 5.0, "plan, warm": 1.5}  #: seconds


def in_fresh_store(root: Path) -> Callable[[], object]:
    """Make a call that plans in a store of its own, each time another."""

    def plan() -> None:
        with tempfile.TemporaryDirectory(dir=root) as store:
            mtlab("plan", "quickstart", "--store", store)()

    return plan


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="three rounds")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = ["--store", f"{folder}/store"]
        mtlab("plan", "quickstart", *store)()
        work = {
            "python -c pass": python("-c", "pass"),
            "import torch": python("-c", "import torch"),
            "mtlab --help": mtlab("--help"),
            "mtlab status": mtlab("status", *store),
            "mtlab list": mtlab("list"),
            "plan, cold": in_fresh_store(Path(folder)),
            "plan, warm": mtlab("plan", "quickstart", *store),
        }
        taken = alternate(work, 3 if asked.quick else asked.rounds)
    print(machine())
    print(f"{'':16} {'CPU s':>7} {'wall s':>7} {'goal s':>7}   CPU as a multiple of import torch")
    for name, seconds in taken.items():
        goal = f"{GOALS[name]:7.1f}" if name in GOALS else " " * 7
        cpu, wall = median(seconds), median(seconds, "wall")
        print(f"{name:16} {cpu:7.2f} {wall:7.2f} {goal}   {ratio(seconds, taken['import torch'])}")


if __name__ == "__main__":
    main()
