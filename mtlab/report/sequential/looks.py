"""A look at a study with as many seeds as needed: tests on its finished runs, and what they decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtlab.report import frame
from mtlab.report.comparison.compare import paired_difference
from mtlab.report.comparison.seed_results import blind_floors, given_floor, judge_variants, results_by_cell
from mtlab.runs.store import Store
from mtlab.studies.looks import Looks, LookTest, Pair, append_look
from mtlab.studies.seeds import stopping_rule

if TYPE_CHECKING:
    import polars as pl


def take_look(store: Store, plan: Mapping[str, Any], known: Looks, due: Sequence[Pair]) -> Looks:
    """Test comparisons at their next look, and record what is found, unless another launcher has done so already.

    Args:
        store: where the runs are.
        plan: a stored plan.
        known: the looks so far.
        due: comparisons whose runs for their next look are all done.

    """
    runs = frame.run_frame(store, plan)
    outcomes = frame.outcomes_by_cell(store, plan, split=plan["metrics"]["verdict"].partition("/")[0])
    return append_look(store, plan, known, find_tests(runs, outcomes, plan, known, due))


def find_tests(
    runs: pl.DataFrame,
    outcomes: Mapping[str, pl.DataFrame],
    plan: Mapping[str, Any],
    known: Looks,
    due: Sequence[Pair],
) -> list[LookTest]:
    """Test comparisons at their next look.

    Args:
        runs: see `frame.run_frame`.
        outcomes: see `frame.outcomes_by_cell`.
        plan: a stored plan.
        known: the looks so far.
        due: which comparisons.

    """
    rule, metric = stopping_rule(plan), plan["metrics"]["verdict"]
    assert rule is not None
    everything = results_by_cell(runs, plan, metric)
    learning = judge_variants(runs, plan, metric, blind_floors(plan, everything, given_floor(plan)))
    evidence, tested = known.evidence(), {}
    for pair in due:
        look = known.next_look(pair)
        number = known.numbers[look]
        seeds = range(plan["sequential"]["first"], plan["sequential"]["first"] + number)
        results = {cell: {seed: value for seed, value in everything[cell].items() if seed in seeds} for cell in pair}
        judged = [learning[cell] for cell in pair]
        learned = all(each is None or each.among(seeds).complete for each in judged)
        found, _ = paired_difference(results, pair, runs, outcomes, metric, plan)
        if found is not None and learned:  # what has not been trained is no evidence
            evidence[pair] = rule.update(evidence[pair], look, found)
        tested[pair] = look, number, found, learned
    corrected = dict(zip(evidence, rule.corrected(list(evidence.values())), strict=True))
    return [
        LookTest(
            cell=pair[0],
            compare_to=pair[1],
            n=number,
            difference=None if found is None else found.difference,
            error=None if found is None else found.error,
            p=evidence[pair].p,
            p_equivalence=evidence[pair].p_equivalence,
            p_corrected=corrected[pair].p,
            p_equivalence_corrected=corrected[pair].p_equivalence,
            ended=rule.ended_by(look, corrected[pair]) if learned else "not learned",
        )
        for pair, (look, number, found, learned) in tested.items()
    ]
