"""How long do commands take that people wait for: `--help`, `status`, `list`, `plan`?

    python benchmarks/startup.py [--rounds 7] [--quick]

Each is a process of its own, all in turn. `plan quickstart` is cold with an empty cache, and warm where its towers were
described and its costs counted before. Beside each stands what it is a multiple of: Python's start, and importing
torch, which `list` and `plan` cannot do without.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

from alternating import alternate, median, ratio
from measurements import Row, measurements, parser
from processes import mtlab, python

GOALS = {"mtlab --help": 0.5, "mtlab status": 0.5, "mtlab list": 5.0, "plan, cold": 5.0, "plan, warm": 1.5}  #: seconds


def with_an_empty_cache(root: Path) -> Callable[[], object]:
    """Make a call that plans in a store and with a cache of its own, each time another."""

    def plan() -> None:
        with tempfile.TemporaryDirectory(dir=root) as store, patch.dict(os.environ, MTLAB_CACHE=f"{store}/cache"):
            mtlab("plan", "quickstart", "--store", store)()

    return plan


def main() -> None:
    """Measure and print."""
    asked = parser(__doc__).parse_args()
    with measurements(asked) as tables, tempfile.TemporaryDirectory() as folder:
        store = ["--store", f"{folder}/store"]
        mtlab("plan", "quickstart", *store)()
        work = {
            "python -c pass": python("-c", "pass"),
            "import torch": python("-c", "import torch"),
            "a worker's imports": python("-c", "import mtlab.cli, mtlab.training.worker, torch._dynamo"),
            "mtlab --help": mtlab("--help"),
            "mtlab status": mtlab("status", *store),
            "mtlab list": mtlab("list"),
            "plan, cold": with_an_empty_cache(Path(folder)),
            "plan, warm": mtlab("plan", "quickstart", *store),
        }
        taken = alternate(work, asked.rounds)
        rows: list[Row] = [
            {
                "process": name,
                "CPU / import torch": ratio(seconds, taken["import torch"]),
                "CPU s": median(seconds),
                "goal, CPU s": GOALS.get(name),
            }
            for name, seconds in taken.items()
        ]
        tables.add("start", rows)


if __name__ == "__main__":
    main()
