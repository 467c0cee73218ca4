"""The last lines of a run or a report: what was found, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import chain, count
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from mtlab.config import yaml
from mtlab.errors import UserError
from mtlab.report.comparison.verdict import list_names, next_for_not_learned, verdict_sentence
from mtlab.report.formats import numbers
from mtlab.report.formats.run_again import RunAgain, readable_as, run_again
from mtlab.runs.shell_command import shell_command
from mtlab.runs.store import FINAL, FINAL_FILE
from mtlab.statistics.power import POWER, seeds_to_detect
from mtlab.statistics.seed_tests import lookup_test
from mtlab.statistics.sequential import look_boundaries
from mtlab.units import format_span, in_points

if TYPE_CHECKING:
    from mtlab.report.comparison.compare import ComparisonRow
    from mtlab.report.sequential.summary import SequentialSummary
    from mtlab.report.study_report import StudyReport
    from mtlab.runs.store import Store

SEEDS = 5  #: to start with, where a study has too few
MOST_SEEDS = 100  #: beyond these no number of seeds is advised
LONGEST = 20  #: seeds that a command lists one by one


def closing_lines(
    report: StudyReport, file: str, overrides: Sequence[str] = (), store: Store | None = None
) -> list[str]:
    """Say what a study has found and what to do next, in a few lines that are true however much of it has run.

    Args:
        report: of the study.
        file: the study's file, or its name, as commands take it.
        overrides: KEY=VALUE each, that it was planned with: without them its runs would be others.
        store: of the study; None: it is found without being named.

    """
    lines = [f"found: {verdict_sentence(report)}"]
    lines += [line for line in (_speed(report),) if line is not None]
    again = partial(run_again, file, *overrides, store=store)
    of_winners = Path(file).name == FINAL_FILE and report.study.endswith(FINAL)
    sweep = report.study.removesuffix(FINAL) if of_winners else None
    lines += [f"next: {step}" for step in _next_steps(report, again, store, file, sweep)]
    page = shell_command("report", readable_as(file, report.study, overrides), "--format", "html", store=store)
    return [*lines, f"all figures on one page: {page}"]


def _speed(report: StudyReport) -> str | None:
    """Say which variants were shown to learn faster or slower; None where nothing was shown."""
    speed = report.speed
    if speed is None:
        return None
    against = report.baselines[0] if len(report.baselines) == 1 else "the baseline"
    told = [
        f"{list_names(names)} {'learns' if len(names) == 1 else 'learn'} {word} than {against}"
        for outcome, word in (("better", "faster"), ("worse", "slower"))
        if (names := [row.label for row in speed.rows if row.outcome == outcome])
    ]
    return f"speed: {'; '.join(told)} (area under {speed.metric})" if told else None


def _next_steps(report: StudyReport, again: RunAgain, store: Store | None, file: str, sweep: str | None) -> list[str]:
    """Choose the next steps: first to finish, then to train, then to add seeds. `sweep`: whose winners `file` has."""
    if report.runs.get("done", 0) < report.runs["asked"]:
        failed = report.runs.get("failed", 0)
        status = shell_command("status", report.study, store=store)
        why = [f"{status} (why {format_span([failed], 'run')} failed)"] if failed else []
        return [*why, f"{again()} (does the rest)"]
    if report.sequential is not None and report.sequential.ended < report.sequential.count:
        return [f"{again()} (goes on until all comparisons are decided)"]
    steps = []
    if (training := next_for_not_learned(report.rows, report.study, again)) is not None:
        steps.append(training)
    compared = [row for row in report.rows if row.compared]
    few = [row for row in compared if row.outcome == "too few"]
    if few and report.sequential is None:
        wanted = max(SEEDS, lookup_test(report.test).seeds)
        steps.append(f"{_with_seeds(report, wanted, again, sweep)} (finished runs are kept)")
    elif undecided := [row for row in compared if row.outcome == "undecided"]:
        write = ""
        if sweep is not None:  # a sweep has its winners' seeds once; a copy of the study may have others
            copy, written = _copy_of_winners(sweep, Path(file))
            if not written:
                write = f"{shell_command('sweep', 'best', sweep, '--as', copy, store=store)} && "
            again = partial(run_again, copy, store=store)
        steps.append(_more_seeds(report, undecided, again, write))
    if len(report.rows) > 1 and not report.baselines:
        steps.append("give the study a `baseline:`, to have the variants compared")
    return steps


def _copy_of_winners(sweep: str, file: Path) -> tuple[str, bool]:
    """Name a copy of the winners, and say whether it is there: a file that holds others is passed over."""
    own = _declared(file)
    names = chain([f"{sweep}-more.yaml"], (f"{sweep}-more-{number}.yaml" for number in count(2)))
    copy = next(name for name in names if not Path(name).exists() or _declared(Path(name)) == own)
    return copy, Path(copy).exists()


def _declared(path: Path) -> object:
    """Return settings and axes of a study's file; of one that cannot be read, what is equal to nothing."""
    try:
        data = yaml.read(path).data
    except (OSError, UserError):
        return object()
    return data.get("set"), data.get("axes")


def _more_seeds(report: StudyReport, undecided: Sequence[ComparisonRow], again: RunAgain, write: str) -> str:
    """Say how many fresh seeds would show the observed differences, that of the variant that needs the fewest.

    Fresh ones, since a test that also counts the seeds on which the difference was seen, and not shown, finds
    differences that are not there more often than its p-value says.
    """
    alpha = report.alpha / (report.comparisons if report.correct == "holm" and report.comparisons else 1)
    needed = [(seeds, row) for row in undecided if (seeds := _seeds_needed(row, alpha)) is not None]
    seeds, row = min(needed, key=itemgetter(0), default=(None, undecided[0]))
    tried = None
    while report.sequential is not None and seeds is not None and seeds != tried:  # more looks have lower levels
        tried = seeds
        found = _seeds_needed(row, _last_level(report.sequential, tried, alpha))
        seeds = None if found is None else max(found, tried)  # never back, or it could go round and round
    if seeds is None:
        margin = 0.5 if in_points(report.metric) else "MARGIN"
        instead = f"; `report: {{equivalence: {margin}}}` asks whether they are smaller than a margin"
        so_small = f"the differences observed are too small to be shown by {MOST_SEEDS} seeds on these test examples"
        return so_small + ("" if report.equivalence is not None else instead)
    assert row.difference is not None
    size = numbers.format_score(row.difference.difference, report.metric, sign=True)
    return (
        f"{seeds} fresh seeds would show a difference as large as that of {row.label}, {size}, with {POWER:.0%} power: "
        f"{write}{_on_fresh_seeds(report, seeds, again)}"
    )


def _with_seeds(report: StudyReport, number: int, again: RunAgain, sweep: str | None) -> str:
    """Say how a study gets so many seeds and keeps the few that it has: a bare number asks for those from 0 on."""
    if sweep is not None:
        return f"set `finally.seeds` to {number} in the file of the sweep {sweep}, and run it again"
    if report.seeds == tuple(range(len(report.seeds))):
        return again(f"study.seeds={number}")
    more = range(max(report.seeds) + 1, max(report.seeds) + 1 + number - len(report.seeds))
    return again(f"study.seeds=[{','.join(map(str, (*report.seeds, *more)))}]")


def _on_fresh_seeds(report: StudyReport, number: int, again: RunAgain) -> str:
    """Say how a study gets so many seeds in place of those that it has."""
    first = max(report.seeds) + 1
    if report.sequential is not None:
        return again(f"study.seeds.first={first}", f"study.seeds.max={number}")
    if number > LONGEST:
        return f"make `seeds` of the study a list of {first} to {first + number - 1}, and run it again"
    return again(f"study.seeds=[{','.join(map(str, range(first, first + number)))}]")


def _seeds_needed(row: ComparisonRow, alpha: float) -> int | None:
    """Return the seeds that would detect a difference as large as the observed one; None for more than are advised."""
    if row.difference is None or not row.difference.difference:
        return None
    if not row.difference.error:  # the same of each seed: p is the chance that so many signs agree
        equal = max(math.ceil(1 - math.log2(alpha)), row.difference.n + 1)
        return equal if equal <= MOST_SEEDS else None
    sd, examples = row.difference.spread
    found = seeds_to_detect(abs(row.difference.difference), sd, alpha, examples=examples, most=MOST_SEEDS)
    return None if found is None else max(found, row.difference.n + 1)


def _last_level(sequential: SequentialSummary, number: int, alpha: float) -> float:
    """Return the level of the last look of a study that gets so many seeds; many looks cost seconds, so at most 40."""
    first, second = (*sequential.looks, sequential.looks[0] + 1)[:2]
    number = min(number, first + 40 * (second - first))
    looks = (*range(first, number, second - first), number)
    return look_boundaries(looks, sequential.spending, sides=2).at(alpha)[-1]
