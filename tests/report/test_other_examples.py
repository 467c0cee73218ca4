"""Rows that were evaluated on other examples, or partly so, as on an axis of data: their chance counts for both."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mtlab.report.comparison.compare import paired_difference
from mtlab.statistics.paired import Difference

SEEDS, EXAMPLES = 5, 300
PLAN = {"test": "paired_t_examples", "alpha": 0.05}


def compare_alike(shared: int, rng: np.random.Generator, group: str = "") -> tuple[Difference, str | None]:
    """Compare two rows of equal accuracy, of whose examples the seeds agree on which are hard.

    With a group, all examples of the first are of it.
    """
    names = {"a": [f"q{at}" for at in range(EXAMPLES)]}
    names["b"] = names["a"][:shared] + [f"r{at}" for at in range(EXAMPLES - shared)]
    ease = {name: rng.beta(0.15, 0.08) for name in (*names["a"], *names["b"])}
    results: dict[str, dict[int, float]] = {"a": {}, "b": {}}
    outcomes, runs = {}, []
    for cell, own in names.items():
        rows = []
        for seed in range(SEEDS):
            right = (rng.random(EXAMPLES) < [ease[name] for name in own]).astype(float)
            results[cell][seed] = float(right.mean())
            runs.append((f"{cell}/s{seed}", cell, seed, results[cell][seed]))
            given = {"run": f"{cell}/s{seed}", "seed": seed, "split": "test", "id": own}
            given["cluster"] = [group] * EXAMPLES if group and cell == "a" else own
            rows.append(pl.DataFrame(given | {"family": "all", "score": right}))
        outcomes[cell] = pl.concat(rows)
    frame = pl.DataFrame(runs, schema=["run", "cell", "seed", "test/accuracy"], orient="row")
    found, note = paired_difference(results, ("a", "b"), frame, outcomes, "test/accuracy", PLAN)
    assert found is not None
    return found, note


@pytest.mark.parametrize(
    ("shared", "told"), [(150, "only 150 examples are shared"), (0, "evaluated on other examples")]
)
def test_true_nulls_on_other_examples_are_rarely_rejected(shared: int, told: str) -> None:
    rng = np.random.default_rng(3)
    found = [compare_alike(shared, rng) for _ in range(120)]
    assert all(note is not None and told in note for _, note in found)
    rejected = sum(difference.p <= 0.05 for difference, _ in found if difference.p is not None)
    assert rejected <= 12  # of 120; with the variance of shared examples alone about half were


def test_the_variance_of_disjoint_examples_is_the_sum_of_both() -> None:
    difference, _ = compare_alike(0, np.random.default_rng(5))
    parts = difference.parts
    assert parts is not None
    assert parts.examples is not None
    assert parts.examples.examples == 2 * EXAMPLES
    # Ease is beta(0.15, 0.08): its variance p (1 − p) / 1.23, of each of two means of 300.
    expected = 2 * (0.15 / 0.23) * (0.08 / 0.23) / 1.23 / EXAMPLES
    assert parts.examples.variance == pytest.approx(expected, rel=0.35)


def test_a_row_whose_examples_are_one_cluster_is_told() -> None:
    difference, note = compare_alike(0, np.random.default_rng(5), group="one scene")
    assert difference.parts is None or difference.parts.examples is None
    assert note is not None
    assert note.endswith("all examples of one of the two are of one cluster: the variance is that over seeds alone")
