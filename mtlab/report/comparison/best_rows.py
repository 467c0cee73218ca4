"""Which rows of a comparison have the best mean, on the seeds that all of them have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING, Any

from mtlab.report.comparison.seed_results import question_groups

if TYPE_CHECKING:
    from mtlab.report.comparison.compare import ComparisonRow


def best_rows(rows: Sequence[ComparisonRow], plan: Mapping[str, Any], mode: str) -> tuple[set[int], set[int]]:
    """Return the indices of the rows with the best mean of each length and group of questions, and of rows alone.

    Rows that have other numbers of seeds, as some failed or a comparison was decided early, are compared on the seeds
    that all have; without one, none is the best. So that an early end says nothing, a row that is shown to be worse
    than its baseline is not the best either.
    """
    best, alone = set[int](), set[int]()
    for block, cells in product({row.block for row in rows}, question_groups(plan["rows"])):
        learned = {
            i: row
            for i, row in enumerate(rows)
            if row.block == block and row.cell in cells and row.n and row.outcome not in ("not learned", "blind")
        }
        if len(learned) < 2:
            alone |= learned.keys()
            continue
        shared = sorted(set.intersection(*(set(row.results) for row in learned.values())))
        means = {
            i: fmean(row.results[seed] for seed in shared)
            for i, row in learned.items()
            if shared and row.outcome != "worse"
        }
        top = (max if mode == "max" else min)(means.values(), default=None)
        best |= {i for i, mean in means.items() if top is not None and math.isclose(mean, top, rel_tol=1e-12)}
    return best, alone
