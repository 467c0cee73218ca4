"""The sentences under a table: how many seeds, which interval, which test, what the columns mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtlab.analysis import words
from mtlab.analysis.comparison import POWER
from mtlab.statistics import named

if TYPE_CHECKING:
    from mtlab.analysis.report import Report

FAMILIES = "By family: mean ± interval over seeds, for looking closer; nothing is tested here."


def caption(report: Report) -> str:
    """Explain the table in one paragraph: everything that its numbers need to be quoted."""
    unit = ", in points (100 × share)" if words.in_points(report.metric) else ""
    level = words.level(report.alpha)
    sentences = [f"{_seeds(report)}. {report.metric}{unit}: mean ± half-width of the {level} t interval over seeds."]
    if report.comparisons:
        correction = (
            f"p corrected by Holm for {report.comparisons} comparison{'s' if report.comparisons > 1 else ''}"
            if report.correct == "holm"
            else "p not corrected for several comparisons"
        )
        against = report.baselines[0] if len(report.baselines) == 1 else "the row named in the verdict"
        needed = ", corrected likewise" if report.correct == "holm" and report.comparisons > 1 else ""
        sentences.append(
            f"Difference: to {against}, on shared seeds, ± {level}; {named(report.test).words}; {correction}. "
            f"Detects: the smallest true difference that this n would find with {POWER:.0%} power{needed}."
        )
    marks = "★ best mean, shown to be better or not. " if any(row.best for row in report.rows) else ""
    sentences.append(
        f"{marks}Params: those trained. FLOPs: forward pass of one example. Time: training, mean over seeds."
    )
    return " ".join(sentences)


def published(report: Report) -> list[str]:
    """Set published results beside ours, clearly apart."""
    told = []
    for item in report.published:
        # The literature writes 74.5 or 0.745: what exceeds 1 can only be points.
        points = words.in_points(item.metric) and abs(item.value) > 1
        value = f"{item.value:g}" if points else words.score(item.value, item.metric)
        ours = (
            "" if item.best_label is None else f"; our best, {item.best_label}: {words.score(item.best, item.metric)}"
        )
        told.append(f"Published {item.metric}: {value} (not run here, not tested against){ours}")
    return told


def _seeds(report: Report) -> str:
    counts = sorted({row.n for row in report.rows})
    asked = max((row.asked for row in report.rows), default=0)
    if not counts or counts == [asked]:
        return f"n = {asked} seed{'s' if asked != 1 else ''}"
    return (
        f"n = {counts[0]} to {counts[-1]} of {asked} seeds" if len(counts) > 1 else f"n = {counts[0]} of {asked} seeds"
    )
