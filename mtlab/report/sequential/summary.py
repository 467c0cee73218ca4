"""What the looks of a study mean for its report: which seeds a comparison counts, its p-values, and what was saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mtlab.statistics.paired import Difference
from mtlab.statistics.spending import Spending
from mtlab.studies.looks import Ended, Looks, LookTest, Pair
from mtlab.studies.seeds import stopping_rule

if TYPE_CHECKING:
    import polars as pl

    from mtlab.report.comparison.compare import ComparisonRow
    from mtlab.report.comparison.seed_results import SeedResults


@dataclass(frozen=True)
class EndedComparison:
    """One comparison: which look decided it, and what that took."""

    label: str
    cell: str
    compare_to: str  #: cell
    compare_label: str
    looks: int  #: that were taken
    n: int  #: seeds at the last of them; 0 before the first
    ended: Ended | None  #: why it gets no more seeds; None: it goes on
    p_corrected: float | None
    p_equivalence_corrected: float | None
    alpha_spent: float  #: by the test of a difference, up to its last look
    seeds_saved: int  #: of the variant, against the most; 0 while it goes on
    seconds: float | None  #: of training, all seeds of the variant


@dataclass(frozen=True)
class SequentialSummary:
    """A study with seeds until decided: its rules, its comparisons, and what it took in all."""

    looks: tuple[int, ...]  #: seeds at each
    margin: float
    spending: Spending
    comparisons: tuple[EndedComparison, ...]
    runs: int  #: finished, of the study's own cells
    most_runs: int
    seconds: float | None  #: of training, all runs
    seconds_saved: float | None  #: an estimate: runs that were not needed × mean time of the variant's runs
    other_records: int  #: of other questions that the study has asked before

    @property
    def count(self) -> int:
        """How many comparisons there are: two rows may be one, at equal steps and at equal FLOPs."""
        return len({(each.cell, each.compare_to) for each in self.comparisons})

    @property
    def ended(self) -> int:
        """How many comparisons have ended."""
        return len({(each.cell, each.compare_to) for each in self.comparisons if each.ended is not None})


def look_seeds(plan: Mapping[str, Any], test: LookTest | None) -> range:
    """Return the seeds that a look tested; none before the first."""
    first = plan["sequential"]["first"]
    return range(first, first + (0 if test is None else test.n))


def seen_results(
    results: Mapping[str, SeedResults], pair: Pair, plan: Mapping[str, Any], looks: Looks | None
) -> Mapping[str, SeedResults]:
    """Keep the seeds of a comparison's last look; all of them where the study has a fixed number."""
    if looks is None:
        return results
    seeds = look_seeds(plan, looks.last.get(pair))
    return {cell: {seed: results[cell][seed] for seed in results[cell] if seed in seeds} for cell in pair}


def count_looks(difference: Difference | None, test: LookTest | None, plan: Mapping[str, Any]) -> Difference | None:
    """Replace the p-value of a test that decided nothing itself by one that counts the looks of its comparison.

    At whatever look a comparison ended, and for whatever reason, that p-value is valid.

    Args:
        difference: on the seeds of the last look.
        test: what that look found; None before the first.
        plan: the stored plan.

    """
    rule = stopping_rule(plan)
    if rule is None or difference is None or difference.p is None:
        return difference
    p = None if test is None else rule.difference.p_value(rule.looks.index(test.n), difference.p)
    return replace(difference, p=p)


def summarise_looks(
    runs: pl.DataFrame, rows: Sequence[ComparisonRow], plan: Mapping[str, Any], looks: Looks | None, other_records: int
) -> SequentialSummary | None:
    """Summarise the looks of a study; None where it has a fixed number of seeds.

    Args:
        runs: see `frame.run_frame`.
        rows: see `comparison.compare`.
        plan: the stored plan.
        looks: those so far.
        other_records: see `studies.looks.other_records`.

    """
    if looks is None:
        return None
    rules, last = plan["sequential"], looks.last
    finished = runs.filter(state="done")
    seconds = finished["cost/seconds"].to_list() if "cost/seconds" in finished.columns else [None] * finished.height
    times: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    for cell, spent in zip(finished["cell"].to_list(), seconds, strict=True):
        counts[cell] = counts.get(cell, 0) + 1
        times.setdefault(cell, []).extend([] if spent is None else [spent])
    comparisons = []
    for row in rows:
        if row.compare_to is None or row.outcome == "blind":
            continue
        test = last.get((row.cell, row.compare_to))
        taken = len(looks.tests((row.cell, row.compare_to)))
        comparisons.append(
            EndedComparison(
                label=row.label,
                cell=row.cell,
                compare_to=row.compare_to,
                compare_label=str(row.compare_label),
                looks=taken,
                n=0 if test is None else test.n,
                ended=None if test is None else test.ended,
                p_corrected=None if test is None else test.p_corrected,
                p_equivalence_corrected=None if test is None else test.p_equivalence_corrected,
                alpha_spent=rules["spent"][taken - 1] if taken else 0.0,
                seeds_saved=0 if test is None or test.ended is None else looks.numbers[-1] - test.n,
                seconds=sum(times[row.cell]) if times.get(row.cell) else None,
            )
        )
    cells = {row.cell for row in rows}
    compared = {cell for pair in looks.pairs for cell in pair}
    most = {cell: looks.numbers[-1 if cell in compared else 0] for cell in cells}
    known = [cell for cell in cells if times.get(cell)]
    saved = [max(0, most[cell] - counts[cell]) * sum(times[cell]) / len(times[cell]) for cell in known]
    return SequentialSummary(
        looks=looks.numbers,
        margin=plan["equivalence"],
        spending=rules["spending"],
        comparisons=tuple(comparisons),
        runs=sum(counts.get(cell, 0) for cell in cells),
        most_runs=sum(most.values()),
        seconds=sum(sum(times[cell]) for cell in known) if known else None,
        seconds_saved=sum(saved) if known and not looks.open else None,
        other_records=other_records,
    )
