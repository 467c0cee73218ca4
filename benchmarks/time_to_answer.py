"""How long until a difference of one point is shown: core-minutes for each pair of variants, from finished runs.

    python benchmarks/time_to_answer.py analysis/results/sweep_managers_runs.csv

Reads a table of runs with the columns label, seed, the metric and cost/seconds, as `mtlab.frame(STUDY).write_csv(FILE)`
writes it. For each pair of variants, the spread of their paired differences over seeds gives the number of seeds that
show a true difference of `--points` with 80 % power at the level `--alpha`; that many seeds of both variants take the
time told, on one core each. The variance over test examples, which no seed averages away, and corrections for several
comparisons come on top. A spread of few seeds is uncertain: the last column is the range over its 95 % interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import polars as pl
from scipy import stats

from mtlab.statistics.power import POWER, seeds_to_detect

MOST = 10_000  #: seeds
RUNS = Path(__file__).parents[1] / "analysis" / "results" / "sweep_managers_runs.csv"


@dataclass(frozen=True)
class Answer:
    """What it takes to tell two variants apart."""

    labels: tuple[str, str]
    runs: int  #: pairs of seeds that were measured
    sd: float  #: of the paired differences
    seconds: float  #: of one run of both, on one core each
    seeds: tuple[int | None, int | None, int | None]  #: at the sd, and at the ends of its interval; None: over `MOST`

    @property
    def core_minutes(self) -> tuple[float | None, ...]:
        """Time of that many seeds of both."""
        return tuple(None if seeds is None else seeds * self.seconds / 60 for seeds in self.seeds)


def answers(runs: pl.DataFrame, metric: str, difference: float, alpha: float) -> Iterator[Answer]:
    """Judge all pairs of variants that share at least three seeds.

    Args:
        runs: label, seed, the metric and cost/seconds.
        metric: a share, 0 to 1.
        difference: in the metric's unit.
        alpha: two-sided level of the test.

    """
    labels = runs["label"].unique(maintain_order=True).to_list()
    by_label = {label: runs.filter(label=label).select("seed", metric, "cost/seconds") for label in labels}
    for one, other in combinations(labels, 2):
        paired = by_label[one].join(by_label[other], on="seed", suffix=" of the other").drop_nulls()
        if len(paired) < 3:
            continue
        sd = float((paired[metric] - paired[f"{metric} of the other"]).std())  # type: ignore[arg-type]
        seconds = float((paired["cost/seconds"] + paired["cost/seconds of the other"]).mean())  # type: ignore[arg-type]
        free = len(paired) - 1
        ends = [sd * (free / stats.chi2.ppf(share, free)) ** 0.5 for share in (0.975, 0.025)]
        found = [seeds_to_detect(difference, each, alpha, most=MOST) for each in (sd, *ends)]
        yield Answer((one, other), len(paired), sd, seconds, (found[0], found[1], found[2]))


def published() -> list[Answer]:
    """Judge the pairs with `bridge` of the published runs by a difference of one point of test accuracy."""
    return [each for each in answers(pl.read_csv(RUNS), "test/accuracy", 0.01, 0.05) if "bridge" in each.labels]


def table(found: Sequence[Answer]) -> str:
    """Format as a Markdown table, the fastest answer first."""
    lines = [
        "| pair | seeds measured | sd, points | seeds needed | core-minutes | range |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for one in sorted(found, key=lambda each: each.core_minutes[0] or float("inf")):
        minutes = [
            f"over {MOST * one.seconds / 60:.0f}" if each is None else f"{each:.0f}" for each in one.core_minutes
        ]
        seeds = f"over {MOST}" if one.seeds[0] is None else str(one.seeds[0])
        pair = f"{one.labels[0]}, {one.labels[1]}"
        lines.append(
            f"| {pair} | {one.runs} | {100 * one.sd:.2f} | {seeds} | {minutes[0]} | {minutes[1]} to {minutes[2]} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="?", default=RUNS, help="CSV file of runs")
    parser.add_argument("--metric", default="test/accuracy")
    parser.add_argument("--points", type=float, default=1.0, help="difference to show (default: 1)")
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--only", nargs="*", help="labels to pair (default: all)")
    given = parser.parse_args()
    runs = pl.read_csv(given.runs)
    if given.only:
        runs = runs.filter(pl.col("label").is_in(given.only))
    print(f"{given.points:g} points of {given.metric}, {POWER:.0%} power, alpha {given.alpha:g}: {given.runs}\n")
    print(table(list(answers(runs, given.metric, given.points / 100, given.alpha))))


if __name__ == "__main__":
    main()
