"""Captions of tables: number of seeds, interval, test and correction, meaning of the columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtlab.report.caveats import row_caveats
from mtlab.report.formats import numbers
from mtlab.statistics.power import POWER
from mtlab.statistics.seed_tests import lookup_test
from mtlab.units import format_span, in_points

if TYPE_CHECKING:
    from mtlab.report.sequential.summary import SequentialSummary
    from mtlab.report.side_by_side import SideBySide
    from mtlab.report.study_report import StudyReport

NAMED = 6  #: baselines that a sentence names before it counts
NO_FAMILIES = "No results by family: no run is finished, or what is compared is of one family."
SPENDINGS = {"obrien_fleming": "O'Brien-Fleming spending", "pocock": "Pocock spending"}
PUBLISHED = "Published: from the literature, not measured here and not tested against."


def table_caption(report: StudyReport) -> str:
    """Explain the main table: all that its numbers need to be quoted."""
    unit = ", in points (100 × share)" if in_points(report.metric) else ""
    level = numbers.format_level(report.alpha)
    several = report.has_several_seeds
    means = f": {explain_means(report, level)}" if several else ""
    sentences = [f"{describe_seeds(report)}. {report.metric}{unit}{means}."]
    if report.comparisons and several:
        correction = (
            f"p corrected by Holm for {format_span([report.comparisons], 'comparison')}"
            if report.correct == "holm"
            else "p not corrected for several comparisons"
        )
        other = report.baselines[0] if len(report.baselines) == 1 else "the row named in the verdict"
        needed = ", corrected likewise" if report.correct == "holm" and report.comparisons > 1 else ""
        within = ""
        if report.equivalence is not None:
            margin = numbers.format_margin(report.equivalence, report.metric)
            within = f" No difference larger than {margin}: by two one-sided tests, corrected likewise."
        sentences.append(
            f"Difference: to {other}, on shared seeds, ± {level}; {lookup_test(report.test).words}; {correction}. "
            f"{describe_clusters(report)}"
            f"Detects: the smallest true difference that this n would find with {POWER:.0%} power{needed}.{within}"
        )
    sentences += explain_floor(report)
    stars = sum(row.best for row in report.rows)
    marks = f"★ best mean{_among(stars)}, shown to be better or not. " if stars else ""
    sentences.append(
        f"{marks}Params: those trained. FLOPs: forward pass of one example. Time: training, mean over seeds."
    )
    return " ".join(sentences)


def looks_caption(report: StudyReport) -> str:
    """Say how many seeds were asked for and why, what was decided, and what was spent and saved."""
    summary = report.sequential
    assert summary is not None
    margin = numbers.format_margin(summary.margin, report.metric)
    looks, count = summary.looks, summary.count
    corrected = f", all p corrected by Holm for {count} comparisons" if report.correct == "holm" and count > 1 else ""
    sentences = [
        f"Seeds until decided: looks at {_spans(looks)} seeds.",
        f"A comparison ends when a difference is shown, or by two one-sided tests that there is none beyond {margin}.",
        f"Its p-values count the looks (Lan-DeMets, {SPENDINGS[summary.spending]}){corrected}; its intervals do not.",
        f"{summary.ended} of {count} comparison{'s have' if count > 1 else ' has'} ended.",
        f"{summary.runs} of at most {summary.most_runs} runs are done{_time_spent(summary)}.",
        "Alpha: spent on the difference. Time: all training of the variant. Saved: seeds.",
    ]
    if summary.other_records:
        times = "once" if summary.other_records == 1 else f"{summary.other_records} times"
        sentences.append(f"The study was decided {times} by other rules, or among other variants, before.")
    return " ".join(sentences)


def _time_spent(summary: SequentialSummary) -> str:
    if summary.seconds is None:
        return ""
    saved = ""
    if summary.seconds_saved is not None:
        saved = f", about {numbers.format_duration(summary.seconds_saved)} saved"
    return f" ({numbers.format_duration(summary.seconds)} of training{saved})"


def _spans(looks: Sequence[int]) -> str:
    """Write numbers of seeds in few words.

    >>> _spans((4, 5, 6, 7)), _spans((4, 8, 12)), _spans((3, 5))
    ('4, 5, …, 7', '4, 8, 12', '3, 5')
    """
    return f"{looks[0]}, {looks[1]}, …, {looks[-1]}" if len(looks) > 3 else ", ".join(map(str, looks))


def family_caption(report: StudyReport, shown: str | None = None) -> str:
    """Explain the table by family, or a figure that shows something else than means with intervals."""
    level, metric = numbers.format_level(report.alpha), report.metric
    unit = ", in points (100 × share)" if in_points(metric) else ""
    sentences = [f"{describe_seeds(report)}. {metric} by family{unit}: {shown or explain_means(report, level)}."]
    sizes = {name: rows[0].examples for name, rows in report.families.items() if rows and rows[0].examples}
    if sizes:
        sentences.append(f"Examples: {', '.join(f'{name} {size}' for name, size in sizes.items())}.")
    if report.family_comparisons and report.has_several_seeds:
        sentences.append(explain_marks(report, report.family_comparisons, " over all families and variants"))
    if any(row.outcome == "not learned" for rows in report.families.values() for row in rows):
        sentences.append(
            f"{numbers.MARKS['not learned']} on this family, or on all by the floor that the study gives, some or all "
            "seeds are no better than a blind answer."
        )
    return " ".join(sentences)


def explain_means(report: StudyReport, level: str) -> str:
    """Explain what stands behind a mean."""
    if not report.has_several_seeds:
        return "of one run, which tells nothing of the spread over seeds"
    if not in_points(report.metric):
        return f"mean ± half-width of the {level} t interval over seeds"
    return f"mean and {level} t interval over seeds, on the arcsine scale: ±, or both ends where one is farther"


def explain_floor(report: StudyReport) -> list[str]:
    """Say what a variant must be above, in the tables where some are not."""
    floors = {numbers.format_score(row.learning.floor, report.metric) for row in report.rows if row.learning}
    if not any(row.outcome == "not learned" for row in report.rows):
        return []
    told = " or ".join(sorted(floors))
    meant = f"so many seeds are not above the best blind answer ({told}) by two standard errors"
    return [f"Not learned: {meant}. Such a variant has not been trained, and is not compared."]


def describe_clusters(report: StudyReport) -> str:
    """Say what examples the variance over examples is of: how many, in how many clusters, with what effect."""
    found = [
        row.difference.parts.examples
        for row in report.rows
        if row.compared and row.difference is not None and row.difference.parts is not None
    ]
    known = [each for each in found if each is not None]
    if not known:
        return ""
    effects = [each.design_effect for each in known if each.design_effect is not None]
    sizes = sorted({(each.examples, each.clusters) for each in known})
    split = "test" if report.metric.startswith("test/") else "validation"
    told = " or ".join(f"{examples} {split} examples in {clusters} clusters" for examples, clusters in sizes[:2])
    if not effects or all(examples == clusters for examples, clusters in sizes):
        return f"{told}. "
    span = sorted({f"{effect:.1f}" for effect in (min(effects), max(effects))}, key=float)
    return f"{told}, design effect {' to '.join(span)}. "


def explain_marks(
    report: StudyReport,
    comparisons: int,
    scope: str = "",
    *,
    words: tuple[str, str] = ("better", "worse"),
    test: str | None = None,
) -> str:
    """Explain the marks of differences that were shown, by the report's test or by another."""
    names = [
        *report.baselines[:NAMED],
        *([f"{len(report.baselines) - NAMED} more"] if report.baselines[NAMED:] else []),
    ]
    other = common_baseline(report) or f"its baseline (one of {', '.join(names)})"
    correction = (
        f"corrected by Holm for {format_span([comparisons], 'comparison')}{scope}"
        if report.correct == "holm"
        else "not corrected for several comparisons"
    )
    better, worse = numbers.MARKS["better"], numbers.MARKS["worse"]
    within = ""
    if report.equivalence is not None and not scope and test is None:  # the table of results alone tests it
        margin = numbers.format_margin(report.equivalence, report.metric)
        within = f", {numbers.MARKS['equivalent']} no difference larger than {margin}"
    return (
        f"{better} {words[0]}, {worse} {words[1]} than {other}{within}: {lookup_test(test or report.test).words}, "
        f"p ≤ {report.alpha:g}, {correction}; no mark: no difference shown."
    )


def common_baseline(report: StudyReport) -> str | None:
    """Return the label of the common baseline; None if there are several.

    It is a row, or a variant where each row is compared with that variant trained equally long.
    """
    if len(report.baselines) == 1:
        return report.baselines[0]
    blocks = {row.label: row.block for row in report.rows}
    compared = [row for row in report.rows if row.compare_label is not None]
    names = {row.variant for row in report.rows if row.label in report.baselines}
    alike = all(blocks.get(str(row.compare_label)) == row.block for row in compared)
    return names.pop() if alike and len(names) == 1 else None


def _among(stars: int) -> str:
    return " of the rows with the same questions and length of training" if stars > 1 else ""


def paper_caption(report: StudyReport, *, blocks: int = 1, differences: bool = True) -> str:
    """Explain a table for a paper: all that its numbers need to be quoted.

    Args:
        report: what is reported.
        blocks: number of blocks side by side.
        differences: the table has a column of differences.

    """
    unit = ", in points" if in_points(report.metric) else ""
    over = "" if report.examples is None else f" on m = {report.examples} examples"
    level, best = numbers.format_level(report.alpha), "highest" if report.mode == "max" else "lowest"
    sentences = [
        f"{report.metric}{unit}: {explain_means(report, level)}; {describe_seeds(report)}{over}.",
        f"Checkpoints: those of the {'highest' if report.choose_mode == 'max' else 'lowest'} {report.choose}.",
    ]
    if report.comparisons and not report.has_several_seeds:
        sentences += ["Difference: of single runs, not tested."] if differences else []
    elif report.comparisons:
        if differences:
            sentences.append(f"Difference: on shared seeds, with its {level} interval, not corrected.")
        sentences.append(explain_marks(report, report.comparisons))
    if report.sequential is not None:
        sentences.append(looks_caption(report))
    if stars := sum(row.best for row in report.rows):
        within = " of its block" if blocks > 1 else _among(stars)
        sentences.append(f"Bold: {best} mean{within}, which alone shows no difference.")
    not_learned = [f"{row.label}: {row.learning}" for row in report.rows if row.outcome == "not learned"]
    if not_learned:
        sentences.append(f"{numbers.MARKS['not learned']} {', '.join(not_learned)}.")
    sentences += explain_floor(report)
    sentences += [f"{note}." for note in row_caveats(report.rows)]
    return " ".join(sentences)


def published_sentences(report: StudyReport) -> list[str]:
    """Write a sentence for each result published for the whole study, with our best."""
    sentences = []
    for item in report.published:
        value = numbers.format_published(item.value, item.metric)
        ours = (
            ""
            if item.best_label is None
            else f"; our best, {item.best_label}: {numbers.format_score(item.best, item.metric)}"
        )
        sentences.append(f"Published {item.metric}: {value} (not run here, not tested against){ours}")
    return sentences


def side_by_side_caption(view: SideBySide, *, differences: bool = True) -> str:
    """Explain blocks side by side: what is the same in a block, and how each study was tested."""
    sentences = []
    for report in view.reports:
        name = f"{report.study}: " if len(view.reports) > 1 else ""
        sentences.append(name + paper_caption(report, blocks=len(view.blocks), differences=differences))
    if len(view.reports) > 1:
        sentences.append("Each study is tested and corrected by itself.")
    return " ".join([*sentences, "FLOPs: of one run's whole training, as planned."])


def describe_seeds(report: StudyReport) -> str:
    """Say how many seeds the variants have of those planned."""
    counts = sorted({row.n for row in report.rows})
    planned = max((row.planned for row in report.rows), default=0)
    if not counts or counts == [planned]:
        return f"n = {format_span([planned], 'seed')}"
    return f"n = {format_span(counts)} of {planned} seeds"
