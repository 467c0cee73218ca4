"""How long until a difference of one point is shown: core-minutes for each pair of variants, from finished runs.

    python benchmarks/time_to_answer.py                       the published comparison, pairs with bridge
    python benchmarks/time_to_answer.py RUNS.csv --only A B   a table of `mtlab.frame(STUDY).write_csv(FILE)`

For each pair, the spread of their paired differences over seeds says how many seeds show a true difference of
`--points` with 80 % power at the level `--alpha`. *Fixed*: ten seeds, or more where ten are too few, tested once.
*Until decided*: a look at every number of seeds from four on, with the rule and the boundaries of real studies
(`seeds: {until: decided}`, O'Brien-Fleming), up to the smallest `max` that has the power too; its seeds are the mean
over simulated studies. The search before is the same for both: its trials, of which those are called hopeless whose
validation accuracy is below the best of the search by more than the 95 % interval of a difference of two samples.

Assumed: paired differences are normal, with the spread that was measured, of which few seeds tell little (the range is
that of its 95 % interval); one comparison. The variance over test examples, which no seed averages away, and the
correction for several comparisons come on top.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import polars as pl
from measurements import ROOT, Row, measurements, parser
from scipy import stats
from sequential_seeds import Rates, Scenario, simulate

from mtlab.statistics.power import POWER, seeds_to_detect

MOST = 10_000  #: seeds
FIXED = 10  #: seeds of a study that says a number
FIRST_LOOK = 4  #: seeds
MARGIN = 0.5  #: of the difference in question: an equivalence within it ends a comparison too
STUDIES = 4000  #: simulated for each pair
VALIDATION = 1200  #: examples of the published search
RUNS = ROOT / "analysis" / "results" / "sweep_managers_runs.csv"
TRIALS = RUNS.with_name("sweep_managers_trials.csv")


@dataclass(frozen=True)
class Answer:
    """What it takes to tell two variants apart."""

    labels: tuple[str, str]
    runs: int  #: pairs of seeds that were measured
    sd: float  #: of the paired differences
    seconds: float  #: of one run of both, on one core each
    seeds: tuple[
        int | None, int | None, int | None
    ]  #: for the power, at the sd and its interval's ends; None: > `MOST`

    def minutes(self, seeds: float) -> float:
        """Core-minutes of so many seeds of both."""
        return seeds * self.seconds / 60


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


def until_decided(sd: float, difference: float, fewest: int, studies: int = STUDIES) -> tuple[int, Rates]:
    """Find the smallest `max` whose sequential test has the power, by simulation; return it and what happens.

    Args:
        sd: of paired differences.
        difference: true.
        fewest: seeds of a fixed number that has the power: a sequential test needs as many, or more.
        studies: simulated.

    """
    most = max(fewest, FIRST_LOOK)
    while True:
        looks = tuple(range(FIRST_LOOK, most + 1))
        rates = simulate(Scenario((difference / sd,), margin=MARGIN * difference / sd, looks=looks), studies)
        if rates.shown >= POWER:
            return most, rates
        most += 1


def search_rows(runs: pl.DataFrame, trials: pl.DataFrame) -> list[Row]:
    """Make the table of the search: a trial is as long as a run of its variant."""
    made: list[Row] = []
    for label in runs["label"].unique(maintain_order=True):
        scores = trials.filter(label=label)["val/accuracy"]
        best = float(scores.max())  # type: ignore[arg-type]
        gap = 1.96 * (2 * best * (1 - best) / VALIDATION) ** 0.5
        minutes = float(runs.filter(label=label)["cost/seconds"].mean()) / 60  # type: ignore[arg-type]
        far = int((scores < best - gap).sum())
        made.append(
            {
                "variant": label,
                "trials": len(scores),
                "core-min": len(scores) * minutes,
                "hopeless trials": far,
                "their core-min": far * minutes,
            }
        )
    return made


def published_trials() -> pl.DataFrame:
    """Read the trials of the published search, with the labels of its variants, which name manager and levels."""
    named = {
        ("last", "[6]", "[3]"): "image level 3",
        ("last", "[6]", "[4]"): "image level 4",
        ("last", "[6]", "[5]"): "last",
        ("bridge", "[4, 5, 6]", "[2, 3, 4]"): "bridge 2 3 4",
        ("bridge", "[4, 5, 6]", "[1, 3, 5]"): "bridge",
        ("cross_attention", "all", "all"): "cross-attention",
    }
    trials = pl.read_csv(TRIALS)
    keys = zip(*(trials[name].to_list() for name in ("manager", "text.layers", "vision.layers")), strict=True)
    return trials.with_columns(label=pl.Series([named.get(key, key[0]) for key in keys]))


def row(found: Answer, difference: float) -> Row:
    """Make the row of a pair."""
    needed = found.seeds[0]
    made: dict[str, str | int | float | None] = {
        "pair": ", ".join(found.labels),
        "sd, points": 100 * found.sd,
        "seeds for the power": needed,
        "range": " to ".join(f"over {MOST}" if each is None else f"{each}" for each in found.seeds[1:]),
    }
    if needed is None:
        return made
    fixed = max(FIXED, needed)
    most, rates = until_decided(found.sd, difference, needed)
    return made | {
        "fixed, seeds": fixed,
        "fixed, core-min": found.minutes(fixed),
        "until decided, max": most,
        "until decided, seeds": rates.seeds,
        "shown, %": 100 * rates.shown,
        "until decided, core-min": found.minutes(rates.seeds),
        "after / before": rates.seeds / fixed,
    }


def main() -> None:
    """Print the table."""
    arguments = parser(__doc__, rounds=1)
    arguments.add_argument("runs", type=Path, nargs="?", default=RUNS, help="CSV file of runs")
    arguments.add_argument("--metric", default="test/accuracy")
    arguments.add_argument("--points", type=float, default=1.0, help="difference to show (default: 1)")
    arguments.add_argument("--alpha", type=float, default=0.05)
    arguments.add_argument("--only", nargs="*", help="labels to pair (default: pairs with bridge)")
    asked = arguments.parse_args()
    runs, difference = pl.read_csv(asked.runs), asked.points / 100
    if asked.only:
        runs = runs.filter(pl.col("label").is_in(asked.only))
    found = list(answers(runs, asked.metric, difference, asked.alpha))
    if not asked.only:
        found = [each for each in found if "bridge" in each.labels]
    ordered = sorted(found, key=lambda each: each.minutes(each.seeds[0] or MOST))
    with measurements(asked) as tables:
        tables.add("pairs", [row(each, difference) for each in ordered])
        if asked.runs == RUNS:
            tables.add("search", search_rows(runs, published_trials()))


if __name__ == "__main__":
    main()
