"""The table of learning speed, and its caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtlab.report.formats import captions, numbers
from mtlab.report.formats.tables import ReportTable, TableCell, difference_text
from mtlab.report.learning.speed import SHARE
from mtlab.units import format_span, in_points

if TYPE_CHECKING:
    from mtlab.report.learning.speed import LearningSpeed, SpeedRow, SpeedTarget, StepsToTarget
    from mtlab.report.study_report import StudyReport

TITLE = "Learning speed"
RATE = "train.lr"


def speed_table(speed: LearningSpeed) -> ReportTable:
    """Lay out the table of learning speed: a line for each variant."""
    compared = any(row.compare_to is not None for row in speed.rows)
    target = [steps_heading(speed)] if speed.targets else []
    header = ("variant", "area", *(["difference"] if compared else []), *target)
    lines = []
    for row in speed.rows:
        area = numbers.add_mark(numbers.format_mean(row.area, speed.metric), row.outcome)
        cells = [TableCell(row.label), TableCell(area, outcome=row.outcome)]
        cells += [TableCell(difference_text(row, speed.metric))] if compared else []
        cells += [TableCell(_steps(row, speed))] if target else []
        lines.append(tuple(cells))
    return ReportTable(header, tuple(lines), frozenset({0, len(header) - 1} if target else {0}))


def steps_heading(speed: LearningSpeed) -> str:
    """Name the column of steps."""
    if len(speed.targets) > 1:
        return "steps to a target"
    return f"steps to {numbers.format_score(speed.targets[0].value, speed.metric)}"


def _steps(row: SpeedRow, speed: LearningSpeed) -> str:
    """Format the steps to a row's target, which is named where others have another."""
    steps = format_steps(row.reached)
    if len(speed.targets) < 2 or row.target is None:
        return steps
    return f"to {numbers.format_score(row.target.value, speed.metric)}: {steps}"


def format_steps(reached: StepsToTarget | None) -> str:
    """Format the steps to the target: a run that never reached it is counted, and gets no number."""
    if reached is None:
        return numbers.NONE
    if reached.mean is not None:
        ends = reached.mean.interval
        mean = f"{reached.mean.mean:,.0f}"
        return mean if ends is None or ends[0] == ends[1] else f"{mean} ({ends[0]:,.0f} to {ends[1]:,.0f})"
    text = f"not within {reached.length:,} ({reached.censored} of {len(reached.by_seed)} seeds)"
    others = sorted(step for step in reached.by_seed.values() if step is not None)
    if not others:
        return text
    return f"{text}; else {others[0]:,}" + (f" to {others[-1]:,}" if others[-1] > others[0] else "")


def speed_caption(report: StudyReport, *, marks: bool = True) -> str:
    """Explain the table of learning speed, with or without its marks; empty without one."""
    speed = report.speed
    if speed is None:
        return ""
    level, points = numbers.format_level(report.alpha), in_points(speed.metric)
    unit = "mean height in points, 0 to 100" if points else "mean height"
    every = format_span(speed.validated_every)
    area = f"under the curve of {speed.metric} from the first validation to the end of training, as its {unit}"
    counts = [len(row.areas) for row in speed.rows]
    seeds = f"n = {format_span(counts, 'seed')}"
    over = f"mean over seeds with its {level} interval, {seeds}" if max(counts) > 1 else seeds
    sentences = [f"Area: {area}; {over}. {'More' if speed.mode == 'max' else 'Less'} is faster."]
    if speed.begins[1] - speed.begins[0] > 1e-9:
        sentences.append(
            f"Areas begin where all variants have been validated, after {speed.begins[1]:.0%} of training."
        )
    number = len({(row.cell, row.compare_to) for row in speed.rows if row.compare_to is not None})
    if number and marks and max(counts) > 1:
        sentences.append(captions.explain_marks(report, number, words=("faster", "slower"), test=speed.test))
    compared = {row.label for row in report.rows if row.compared}
    others = [row.label for row in speed.rows if row.label in compared and row.compare_to is None]
    if others:
        sentences.append(f"Areas of other lengths than the baseline's are not compared: {', '.join(others)}.")
    rates = {row.label for row in report.rows if RATE in row.config_differences}
    at_others = [row.label for row in speed.rows if row.label in rates and row.compare_to is not None]
    if at_others:
        names = ", ".join(at_others)
        sentences.append(f"Trained at another learning rate than the baseline, which also changes the area: {names}.")
    if speed.targets:
        first = "the first validation that found it"
        several = any(row.reached is not None and len(row.reached.by_seed) > 1 for row in speed.rows)
        found = f"geometric mean over seeds of {first}, with its {level} interval" if several else first
        sentences.append(f"{_name_targets(speed)}: {found}; validated every {every} steps.")
        if any(row.reached is not None and row.reached.censored for row in speed.rows):
            sentences.append("Not within: runs that never got there.")
    without: dict[str, list[str]] = {}
    for row in speed.rows:
        if row.why_no_target:
            without.setdefault(row.why_no_target, []).append(row.label)
    for why, labels in without.items():
        whose = f" of {', '.join(labels)}" if speed.targets else ""
        sentences.append(f"No steps to a target{whose}: {why}.")
    return " ".join(sentences)


def _name_targets(speed: LearningSpeed) -> str:
    target, *others = speed.targets
    if not others:
        return f"Steps to {numbers.format_score(target.value, speed.metric)}{_origin(target, speed.metric)}"
    starts = " or ".join(dict.fromkeys(each.start_name for each in speed.targets))
    way = f"{SHARE:.0%} of the way from {starts} to the best final mean of the rows on the same questions"
    return f"Steps to a target ({way})"


def _origin(target: SpeedTarget, metric: str) -> str:
    if target.start is None:
        return " (set by report.reach)"
    start, best = (numbers.format_score(value, metric) for value in (target.start, target.best))
    return f" ({SHARE:.0%} of the way from {target.start_name}, {start}, to the best final mean, {best})"
