"""Has something become slower? A few ratios of small things, beside those of benchmarks/guard.json: `make test-all`.

    python benchmarks/guard.py                               fails if a ratio is worse by more than its margin
    python benchmarks/guard.py --json benchmarks/guard.json  after a change that is meant: commit the new ratios

Two things are timed in turn, round after round, in CPU seconds, and the median of their ratios is judged: what else the
machine does slows both, and a burst of it spoils a round or two, not the median. On two busy cores the medians of three
runs stayed within 7 % of each other, while single rounds strayed by a quarter. Other processors, libraries and disks
move them, the more the less alike the two sides are. Hence the margins: 1.3 for steps in one process, 1.5 for whole
processes, and 1.8 where one side reads files and the other multiplies. What is worse is measured once more before it is
told. What becomes slower by less passes: `make bench` measures that.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import Ratio, alternate, ratio
from cache import QUICKSTART, Training
from growth import Size, Step
from measurements import as_data, measurements, parser, text
from processes import mtlab, python
from recording import parts
from torch import nn

from mtlab import files
from mtlab.runs.store import Store
from mtlab.training.environment import keep_freed_memory

COMMITTED = Path(__file__).with_suffix(".json")
ROUNDS, STEPS = 5, 10
SMALL = Size(width=64, experts=12, layers=2, tokens=32, examples=8)  #: many experts, for which managers are made
STEP, PROCESS, DIFFERENT = 1.3, 1.5, 1.8  #: margins
MANY = f"""
kind: ablation
name: many
base: [presets/small, presets/layered]
axes: {{manager: [bridge, mean, static, adaptive]}}
baseline: {{manager: bridge}}
seeds: {list(range(50))}
"""
PAIRS = {  #: what is timed, beside what; the margin
    ("step of bridge", "step of plain torch"): STEP,
    ("step of static", "step of bridge"): STEP,
    ("step of adaptive", "step of bridge"): STEP,
    ("cached step", "recomputed step"): DIFFERENT,
    ("look of the recording", "recorded steps"): DIFFERENT,
    ("end of the recording", "recorded steps"): DIFFERENT,
    ("mtlab --help", "import torch"): PROCESS,
    ("mtlab status", "import torch"): PROCESS,
    ("mtlab plan", "import torch"): PROCESS,
}


class Plain:
    """The cross-modal layers of `SMALL` from torch's own parts, and one training step of them."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        width, layers = SMALL.width, 2 * SMALL.layers
        made = (nn.TransformerDecoderLayer(width, 4, 4 * width, 0.0, batch_first=True) for _ in range(layers))
        self.layers = nn.ModuleList(made)
        self.optimiser = torch.optim.AdamW(self.layers.parameters())
        self.given = [torch.randn(SMALL.examples, SMALL.tokens, width) for _ in range(2)]

    def __call__(self) -> None:
        """Make the step."""
        self.optimiser.zero_grad()
        text, image = self.given
        for at in range(0, len(self.layers), 2):
            text, image = self.layers[at](text, image), self.layers[at + 1](image, text)
        (text.square().mean() + image.square().mean()).backward()
        nn.utils.clip_grad_norm_(self.layers.parameters(), 1.0)
        self.optimiser.step()


def work(folder: Path) -> dict[str, Callable[[], object]]:
    """Prepare what is timed."""
    store = ["--store", str(folder / "store")]
    mtlab("plan", "quickstart", *store)()
    half_trained(folder / "many")
    recorded = parts("adaptive", folder, train=64, val=64, test=16)
    return {
        "step of plain torch": several(Plain()),
        **{f"step of {name}": several(Step(SMALL, name)) for name in ("bridge", "static", "adaptive")},
        "cached step": training(folder, cached=True),
        "recomputed step": training(folder, cached=False),
        "recorded steps": recorded["steps"],
        "look of the recording": recorded["look"],
        "end of the recording": recorded["end"],
        "import torch": python("-c", "import torch"),
        "mtlab --help": mtlab("--help"),
        "mtlab status": mtlab("status", "--store", str(folder / "many")),
        "mtlab plan": mtlab("plan", "quickstart", *store),
    }


def half_trained(store: Path) -> None:
    """Lay out a study of 200 runs that have logged a thousand rows each and have not ended."""
    study = store.with_suffix(".yaml")
    study.write_text(MANY)
    mtlab("plan", str(study), "--store", str(store))()
    found = Store.open(store)
    log = ('{"step": 1, "train/loss": 0.5}\n' * 19 + '{"step": 1, "val/accuracy": 0.5}\n') * 50
    for run in found.plan("many")["runs"]:
        folder = found.run(run["id"])
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text(log)
        files.write_json(folder / "state.json", {"attempt": 1})


def several(step: Callable[[], object]) -> Callable[[], object]:
    """Make a call of some steps: one is too short to be timed."""
    return lambda: [step() for _ in range(STEPS)]


def training(folder: Path, *, cached: bool) -> Callable[[], object]:
    """Make a call of two steps of the quickstart on few data, from a cache of its own or not."""
    os.environ["MTLAB_CACHE"] = str(folder / "cache")
    run = Training({**QUICKSTART, "data": {**QUICKSTART["data"], "train": 64, "val": 8, "test": 8}}, cached=cached)
    return lambda: run(2)


def measure(rounds: int) -> dict[str, Ratio]:
    """Time everything in turn, and divide."""
    with tempfile.TemporaryDirectory() as folder:
        taken = alternate(work(Path(folder)), rounds)
    return {f"{one} / {other}": ratio(taken[one], taken[other]) for one, other in PAIRS}


def worse(committed: Mapping[str, Mapping[str, float]], found: Mapping[str, Ratio]) -> Iterator[str]:
    """Say of each ratio whose median is worse than the committed one by more than its margin."""
    for (one, other), margin in PAIRS.items():
        name = f"{one} / {other}"
        before, now = committed[name], found[name]
        if now.median > before["median"] * margin:
            yield f"{name}: {text(as_data({'': now})[''])}, committed {text(before)}: worse by more than × {margin}"


def main() -> None:
    """Measure, and compare or write."""
    asked = parser(__doc__, rounds=ROUNDS).parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    with measurements(asked) as tables:
        found = measure(asked.rounds)
        tables.add("ratios", [{"ratio of CPU seconds": name, "median": each} for name, each in found.items()])
    if asked.json:
        return
    rows = files.read_json(COMMITTED)["tables"]["ratios"]
    committed = {row["ratio of CPU seconds"]: row["median"] for row in rows}
    if slower := list(worse(committed, found)):
        print("\n".join(["worse, measured once more:", *slower]), file=sys.stderr)
        slower = list(worse(committed, measure(asked.rounds)))
    sys.exit("\n".join(["guard: slower than committed", *slower]) if slower else 0)


if __name__ == "__main__":
    main()
