"""Tests behind docs/results.md#which-of-all-managers that no report makes, from the tables of analysis/results.

`python tools/mechanisms.py` prints the test of all rows that were predicted to be alike at once, whole and by family,
the order of rows on two draws of pictures, accuracy by cost, and a pair that was looked at afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from findings import read_table
from numpy.typing import NDArray
from scipy import stats

from mtlab.statistics.correction import holm

ALIKE = (
    *("bridge", "mean", "static", "static over all states", "adaptive", "sparse", "cross-attention"),
    *("concat-attention", "attention residual", "depth-weighted", "spread sum", "residual static"),
)
APART = ("last", "image level 3", "image level 3 in each layer", "MMFuser")  #: they lack a kind of question
CHANGED = ("bridge", "bridge, cross-attention", "IGVA", "Dense Connector", "Dense Connector, sparse")  #: since draw 1
METRIC = "test/accuracy"
Scores = Mapping[str, NDArray[np.float64]]


def by_seed(metric: str = METRIC) -> Scores:
    """Return label → a metric over seeds, in points."""
    found: dict[str, dict[str, float]] = {}
    for run in read_table("sweep_managers_all", "runs"):
        found.setdefault(run["label"], {})[run["seed"]] = 100 * float(run[metric])
    return {label: np.array([of[seed] for seed in sorted(of)]) for label, of in found.items()}


def means(name: str) -> dict[str, float]:
    """Return label → mean accuracy of a shipped comparison."""
    return {row["label"]: float(row["mean"]) for row in read_table(name, "report")}


def at_once(scores: Scores) -> tuple[float, float, tuple[float, float, float]]:
    """Test all rows that were predicted to be alike by an analysis of variance, with seeds as blocks.

    Returns:
        F, p, and the spread (standard deviation) of the rows' true means, taken as random, with its 95 % interval

    """
    values = np.stack([scores[label] for label in ALIKE])
    rows, seeds = values.shape
    between, within = rows - 1, (rows - 1) * (seeds - 1)
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    noise = float((rest**2).sum() / within)
    ratio = seeds * float(values.mean(1).var(ddof=1)) / noise

    quantiles = stats.f.ppf([0.975, 0.025], between, within)
    middle, low, high = (float(np.sqrt(max(0.0, ratio / by - 1) * noise / seeds)) for by in (1.0, *quantiles))
    return ratio, float(stats.f.sf(ratio, between, within)), (middle, low, high)


def main() -> None:
    """Print the tests."""
    ratio, p, (spread, low, high) = at_once(by_seed())
    print(f"{len(ALIKE)} rows at once: F = {ratio:.2f}, p = {p:.2g}; spread {spread:.2f} ({low:.2f} to {high:.2f})")
    families = ("letter", "object", "shade", "stripes")
    corrected = holm([at_once(by_seed(f"{METRIC}/{family}"))[1] for family in families])
    print("by family, after Holm:", ", ".join(f"{f} {p:.2g}" for f, p in zip(families, corrected, strict=True)))
    now, before = means("sweep_managers_all"), means("sweep_managers_all_first")
    both = [label for label in now if label in before and label not in (*APART, *CHANGED)]
    order = stats.spearmanr([now[label] for label in both], [before[label] for label in both])
    print(f"order of {len(both)} rows on two draws: Spearman {order.statistic:.2f}, p = {order.pvalue:.2g}")
    upper = [row for row in read_table("sweep_managers_all", "report") if row["label"] not in APART]
    flops = [float(row["training_flops"]) for row in upper]
    order = stats.spearmanr(flops, [float(row["mean"]) for row in upper])
    factor = max(flops) / min(flops)
    print(f"FLOPs of {len(upper)} rows, factor {factor:.2f}: Spearman {order.statistic:.2f}, p = {order.pvalue:.2g}")
    gap = by_seed()["adaptive"] - by_seed()["static"]
    half = stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / len(gap) ** 0.5
    print(f"adaptive less static, paired t over seeds: {gap.mean():+.2f} ± {half:.2f}")


if __name__ == "__main__":
    main()
