"""What the shipped comparisons found of each manager, from the tables of `mtlab report` in analysis/results."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mtlab.studies.expand import expand
from mtlab.sweeps.spec import read_sweep

ROOT = Path(__file__).parents[1]
#: sweep → its section of docs/results.md, and where it ran
SHIPPED = {
    "managers": ("is-a-mixture-of-levels-better-than-one-level-or-one-level-per-bridge", "CNN"),
    "managers_all": ("every-mechanism-tuned-alike-preliminary", "CNN, every mechanism, preliminary"),
    "managers_vit": ("the-same-on-a-vit-preliminary", "ViT, preliminary"),
}
VERDICTS = {"better": "better", "worse": "worse", "equivalent": "equivalent", "undecided": "no difference shown"}


class Finding(NamedTuple):
    """One variant of a shipped comparison."""

    place: str  #: where it ran, a link to its section of docs/results.md
    label: str
    row: Mapping[str, str]  #: of the report

    def cells(self) -> tuple[str, ...]:
        """Write it as cells of a table: accuracy and difference in points, with intervals of 95 %."""
        row = self.row
        seeds = f"{row['n']} seeds"
        mean, low, high = (float(row[column]) for column in ("mean", "low", "high"))
        accuracy = f"{100 * mean:.1f} ± {100 * max(mean - low, high - mean):.1f}"
        if row["baseline"] == "true":
            return self.place, self.label, seeds, accuracy, "—", "baseline"
        half = (float(row["difference_high"]) - float(row["difference_low"])) / 2
        difference = f"{100 * float(row['difference']):+.1f} ± {100 * half:.1f}".replace("-", "−")
        verdict = f"{VERDICTS[row['outcome']]} (p {_p(float(row['p_corrected']))})"
        return self.place, self.label, seeds, accuracy, difference, verdict


@cache
def findings() -> Mapping[str, tuple[Finding, ...]]:
    """Collect what was found, manager → its variants, in the order of the comparisons."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for sweep, (anchor, where) in SHIPPED.items():
        with (ROOT / f"analysis/results/sweep_{sweep}_report.csv").open(newline="") as file:
            rows = {row["label"]: row for row in csv.DictReader(file)}
        for variant in expand(read_sweep(ROOT / f"sweeps/{sweep}.yaml").study):
            found[variant.config["manager"]["name"]].append(
                Finding(f"[{where}](results.md#{anchor})", variant.label, rows[variant.label])
            )
    return {name: tuple(those) for name, those in found.items()}


def table(manager: str) -> Iterator[str]:
    """Write what was found of a manager, nothing if no shipped comparison has it."""
    if manager not in findings():
        return
    yield from ("Found, on test data, tuned; the difference is to `bridge` of the same comparison:", "")
    yield from ("| where | variant | | accuracy | difference | |", "|---|---|---|--:|--:|---|")
    for finding in findings()[manager]:
        yield f"| {' | '.join(finding.cells())} |"
    yield ""


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"
