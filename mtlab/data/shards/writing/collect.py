"""The first half of a conversion: reading, checking and sorting all annotations on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.data.converters.base import Annotation, Converter, RejectedRow
from mtlab.data.converters.scratch_database import ScratchDatabase
from mtlab.data.shards.writing.rejects import WRONG_FILE, RejectLog, parse_reject, reject_to_line
from mtlab.data.shards.writing.staging import Staging
from mtlab.errors import UserError

Progress = Callable[[str, int, int | None], None]  #: activity, amount done, total if known
PROGRESS_EVERY = 10_000  #: rows
#: in the folder of an unfinished conversion: sorted annotations; rejected rows; the summary, written last
DATABASE, REJECTS, STAGED = "staged.db", "rows.jsonl", "staged.json"


@dataclass(frozen=True)
class StagedAnnotations:
    """Annotations that are sorted on disk."""

    database: Path
    samples: dict[str, int]  #: part → samples
    texts: int  #: in all, bad and missing ones included
    answers: list[str] | None


def read_staged(state: Path, made_from: str) -> StagedAnnotations | None:
    """Return the annotations that an earlier process has sorted; None: it has not finished.

    Args:
        state: the folder of the unfinished conversion.
        made_from: everything that the output depends on, as text.

    Raises:
        UserError: the folder holds another conversion.

    """
    try:
        data = files.read_json(state / STAGED)
    except FileNotFoundError:
        return None
    if data.pop("made_from") != made_from:
        raise UserError(
            "holds an unfinished conversion of other files, or by other options: remove it, or name another folder",
            file=state.parent,
        )
    return StagedAnnotations(database=state / DATABASE, **data)


def read_rejects(state: Path) -> Iterator[RejectedRow]:
    """Yield the rows that an earlier process has rejected."""
    with (state / REJECTS).open(encoding="utf-8") as lines:
        yield from map(parse_reject, lines)


def collect_annotations(
    converter: Converter, state: Path, made_from: str, rejects: RejectLog, progress: Progress
) -> StagedAnnotations:
    """Read the annotations.

    Args:
        converter: reads them.
        state: the folder of the unfinished conversion.
        made_from: everything that the output depends on, as text; stored with the annotations.
        rejects: takes rejected rows.
        progress: called now and then.

    Raises:
        UserError: the files are of another data set, too much in them is bad, a part has nothing to use, or an image is
            in several parts.

    """
    with files.explain_disk_errors(state), (state / REJECTS).open("w", encoding="utf-8") as stream:
        staged = _read(converter, state, _reject_function(rejects, stream.write), progress)
    rejects.check_share(staged.texts)
    for part in converter.parts:
        if not staged.samples.get(part):
            reason = rejects.first(part, converter.no_row)
            raise UserError(f"{part} has no row that can be used: {reason}", file=converter.root)
    for name in (REJECTS, DATABASE):
        files.sync(state / name)  # before the summary says that it is complete
    data = {"made_from": made_from, "samples": staged.samples, "texts": staged.texts, "answers": staged.answers}
    files.write_json(state / STAGED, data)
    return staged


def _reject_function(rejects: RejectLog, write: Callable[[str], Any]) -> Callable[[RejectedRow], None]:
    def reject(bad: RejectedRow) -> None:
        rejects.add([bad])
        write(reject_to_line(bad))

    return reject


def _read(
    converter: Converter, state: Path, reject: Callable[[RejectedRow], None], progress: Progress
) -> StagedAnnotations:
    joined, sorted_ = ScratchDatabase(state / "joined.db"), ScratchDatabase(state / DATABASE)
    with closing(joined), closing(sorted_):
        converter.prepare(joined)
        staging, rejected = Staging(sorted_), 0
        rows = _with_progress(_check_file(converter.rows(joined), converter.root), progress)
        for bad in staging.add(rows):
            rejected += bad.texts
            reject(bad)
        staging.sort()
        if converter.disjoint and (shared := staging.shared()) is not None:
            count, key, parts = shared
            raise UserError(
                f"{count:,} images are in several parts, such as {key} in {' and '.join(parts)}: are files mixed up?",
                file=converter.root,
            )
        if not converter.disjoint and (conflict := staging.conflicting()) is not None:
            key, parts = conflict
            raise UserError(f"{key} is another image in {parts[0]} than in {parts[1]}", file=converter.root)
        samples = {part: staging.samples(part) for part in converter.parts}
        texts = rejected + sum(staging.texts.values())
    joined.path.unlink()
    answers = converter.answers()
    return StagedAnnotations(sorted_.path, samples, texts, None if answers is None else list(answers))


def _check_file(rows: Iterator[Annotation | RejectedRow], root: Path) -> Iterator[Annotation | RejectedRow]:
    """Pass rows on, unless all first ones of a part are bad.

    Raises:
        UserError: the first rows of a part are all bad.

    """
    first: dict[str, RejectedRow] = {}
    counts: Counter[str] = Counter()
    good: set[str] = set()
    for row in rows:
        if isinstance(row, Annotation):
            good.add(row.part)
        elif row.part not in good and not row.missing:
            first.setdefault(row.part, row)
            counts[row.part] += 1
            if counts[row.part] == WRONG_FILE:
                bad = first[row.part]
                raise UserError(
                    f"the first {WRONG_FILE} rows of {row.part} are all bad ({bad.place}: {bad.reason}): "
                    "is it the file of something else, or are two swapped?",
                    file=root,
                )
        yield row


def _with_progress(rows: Iterator[Annotation | RejectedRow], progress: Progress) -> Iterator[Annotation | RejectedRow]:
    number = 0
    for number, row in enumerate(rows, 1):
        if number % PROGRESS_EVERY == 0:
            progress("reading annotations", number, None)
        yield row
    progress("reading annotations", number, number)
