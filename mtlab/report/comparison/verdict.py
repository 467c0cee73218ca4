"""The verdict of a study in a sentence or two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtlab.report.formats import numbers
from mtlab.report.formats.run_again import RunAgain
from mtlab.report.side_by_side import length_axis
from mtlab.runs.store import FINAL

if TYPE_CHECKING:
    from mtlab.report.comparison.compare import ComparisonRow
    from mtlab.report.study_report import StudyReport

NAMED = 4  #: variants that a sentence names before it counts


def verdict_sentence(report: StudyReport) -> str:
    """Say which variants were shown to be better or worse than their baseline, on how many finished runs."""
    done, planned = report.runs.get("done", 0), report.runs["asked"]
    if not any(row.n for row in report.rows):
        return f"No result yet: {done} of {planned} runs are finished."
    compared = any(row.compare_to is not None for row in report.rows)
    verdict = _compared(report) if compared else _best(report.rows, report.metric)
    return verdict if done == planned else f"So far, with {done} of {planned} runs finished. {verdict}"


def not_learned(rows: Sequence[ComparisonRow], metric: str) -> str | None:
    """Name the variants that have not learned, and what follows; None without any."""
    found = [(row, row.learning) for row in rows if row.outcome == "not learned" and row.learning is not None]
    if not found:
        return None
    told = [f"{row.label} ({len(each.not_learned)} of {each.seeds} seeds)" for row, each in found]
    more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
    floors = " or ".join(sorted({numbers.format_score(each.floor, metric) for _, each in found}))
    return (
        f"not learned: {', '.join(told[:NAMED])}{more}; what is not above the best blind answer ({floors}) has not "
        "been trained, and says nothing about how levels are aggregated"
    )


def next_for_not_learned(rows: Sequence[ComparisonRow], study: str, again: RunAgain | None = None) -> str | None:
    """Say what to do about variants of a study that have not learned, with the command if given; None without any."""
    if not any(row.outcome == "not learned" for row in rows):
        return None
    if study.endswith(FINAL):  # its settings are those of the sweep
        return "search with longer training: raise `train.length` in the sweep's file, under another `name`"
    steps = max((row.cost.steps for row in rows if row.cost.steps is not None), default=None)
    axis = next((found for row in rows if (found := length_axis(row.axes)) is not None), None)
    if axis is not None:
        longer = f" (add a longer length to the axis `{axis}`)"
    else:
        longer = f" ({again(f'train.length.steps={2 * steps:.0f}')})" if steps and again is not None else ""
    return (
        f"train longer{longer} or at another `train.lr`, or give every variant the same search "
        "(mtlab new tuned --from sweeps/managers)"
    )


def _compared(report: StudyReport) -> str:
    compared = [row for row in report.rows if row.compare_to is not None]
    against = report.baselines[0] if len(report.baselines) == 1 else "the baseline"
    shown = []
    for outcome in ("better", "worse", "identical"):
        names = [row.label for row in compared if row.outcome == outcome]
        if names:
            verb, word = "is" if len(names) == 1 else "are", "to" if outcome == "identical" else "than"
            shown.append(f"{list_names(names)} {verb} {outcome} {word} {against}")
    equivalent = [row.label for row in compared if row.outcome == "equivalent"]
    if equivalent and report.equivalence is not None:
        margin = numbers.format_margin(report.equivalence, report.metric)
        shown.append(f"{list_names(equivalent)} differ{'s' if len(equivalent) == 1 else ''} by no more than {margin}")
    undecided = [row.label for row in compared if row.outcome == "undecided"]
    if undecided:
        what = "" if shown else f" to {against}"
        shown.append(f"no difference{what} is shown for {list_names(undecided)}")
    few = [row.label for row in compared if row.outcome == "too few"]
    if few:
        shown.append(f"too few seeds to tell of {list_names(few)}")
    shown += _untrained(report.rows)
    if not shown:
        return f"On {report.metric}: nothing can be compared."
    corrected = " after Holm" if report.correct == "holm" and report.comparisons > 1 else ""
    some = any(row.compared and row.outcome != "too few" for row in report.rows)
    tested = f" (p ≤ {report.alpha:g}{corrected})" if some else ""
    return f"On {report.metric}{tested}: {'; '.join(shown)}."


def _best(rows: Sequence[ComparisonRow], metric: str) -> str:
    """Name the best of those that have learned, one for each length of training."""
    learned = [row for row in rows if row.mean is not None and row.outcome not in ("not learned", "blind")]
    best = [row for row in learned if row.best or row.alone]
    untrained, nothing = _untrained(rows), ["nothing is compared"] if len(rows) > 1 else []
    if not best:
        return f"On {metric}: {'; '.join([*untrained, *nothing])}."
    listed = ", ".join(f"{row.label} with {numbers.format_mean(row.mean, metric)}" for row in best)
    return f"{'Best mean ' if len(rows) > 1 else ''}{metric}: {'; '.join([listed, *untrained, *nothing])}."


def _untrained(rows: Sequence[ComparisonRow]) -> list[str]:
    names = [row.label for row in rows if row.outcome == "not learned"]
    return [f"{list_names(names)} {'has' if len(names) == 1 else 'have'} not learned"] if names else []


def list_names(names: Sequence[str]) -> str:
    """Name a few variants, or count them."""
    if len(names) > NAMED:
        return f"{len(names)} variants"
    return " and ".join((", ".join(names[:-1]), names[-1]) if len(names) > 1 else names)
