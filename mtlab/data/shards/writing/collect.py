"""The first half of a conversion: all annotations, read, checked and sorted on disk."""

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
from mtlab.data.shards.writing.rejects import WRONG, RejectLog, from_line, to_line
from mtlab.data.shards.writing.staging import Staging
from mtlab.errors import UserError

Progress = Callable[[str, int, int | None], None]  #: what is done, how far, of how much
OFTEN = 10_000  #: rows after which progress is told
#: in the folder of an unfinished conversion: the annotations, sorted; rows that were left out; that both are whole
DATABASE, ROWS, STAGED = "staged.db", "rows.jsonl", "staged.json"


@dataclass(frozen=True)
class Staged:
    """Annotations, sorted on disk."""

    database: Path
    samples: dict[str, int]  #: part → samples
    texts: int  #: in all, bad and missing ones included
    answers: list[str] | None


def staged_before(state: Path, made_from: str) -> Staged | None:
    """Look up what an earlier process has read; None: it has not read all.

    Args:
        state: the folder of the unfinished conversion.
        made_from: all that decides what comes out, as text.

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
    return Staged(database=state / DATABASE, **data)


def left_out_before(state: Path) -> Iterator[RejectedRow]:
    """Give the rows that an earlier process has left out."""
    with (state / ROWS).open(encoding="utf-8") as lines:
        yield from map(from_line, lines)


def collect(converter: Converter, state: Path, made_from: str, leavings: RejectLog, progress: Progress) -> Staged:
    """Read the annotations.

    Args:
        converter: reads them.
        state: the folder of the unfinished conversion.
        made_from: all that decides what comes out, as text; kept beside what is read.
        leavings: takes what cannot be used.
        progress: called now and then.

    Raises:
        UserError: the files are of another data set, too much in them is bad, a part has nothing to use, or an image is
            in several parts.

    """
    with files.explain_disk_errors(state), (state / ROWS).open("w", encoding="utf-8") as stream:
        staged = _read(converter, state, _listed(leavings, stream.write), progress)
    leavings.refuse_many(staged.texts)
    for part in converter.parts:
        if not staged.samples.get(part):
            raise UserError(f"{part} has no row that can be used: {leavings.first(part)}", file=converter.root)
    for name in (ROWS, DATABASE):
        files.sync(state / name)  # before another one says that it is whole
    data = {"made_from": made_from, "samples": staged.samples, "texts": staged.texts, "answers": staged.answers}
    files.write_json(state / STAGED, data)
    return staged


def _listed(leavings: RejectLog, write: Callable[[str], Any]) -> Callable[[RejectedRow], None]:
    def add(bad: RejectedRow) -> None:
        leavings.add([bad])
        write(to_line(bad))

    return add


def _read(converter: Converter, state: Path, leave: Callable[[RejectedRow], None], progress: Progress) -> Staged:
    joined, sorted_ = ScratchDatabase(state / "joined.db"), ScratchDatabase(state / DATABASE)
    with closing(joined), closing(sorted_):
        converter.prepare(joined)
        staging, left = Staging(sorted_), 0
        rows = _told(_right_file(converter.rows(joined), converter.root), progress)
        for bad in staging.add(rows):
            left += bad.texts
            leave(bad)
        staging.sort()
        if converter.disjoint and (shared := staging.shared()) is not None:
            count, key, parts = shared
            raise UserError(
                f"{count:,} images are in several parts, such as {key} in {' and '.join(parts)}: are files mixed up?",
                file=converter.root,
            )
        if not converter.disjoint and (torn := staging.torn()) is not None:
            key, parts = torn
            raise UserError(f"{key} is another image in {parts[0]} than in {parts[1]}", file=converter.root)
        samples = {part: staging.samples(part) for part in converter.parts}
        texts = left + sum(staging.texts.values())
    joined.path.unlink()
    answers = converter.answers()
    return Staged(sorted_.path, samples, texts, None if answers is None else list(answers))


def _right_file(rows: Iterator[Annotation | RejectedRow], root: Path) -> Iterator[Annotation | RejectedRow]:
    """Refuse a file of which nothing so far can be used.

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
            if counts[row.part] == WRONG:
                bad = first[row.part]
                raise UserError(
                    f"the first {WRONG} rows of {row.part} are all bad ({bad.place}: {bad.reason}): "
                    "is it the file of something else, or are two swapped?",
                    file=root,
                )
        yield row


def _told(rows: Iterator[Annotation | RejectedRow], progress: Progress) -> Iterator[Annotation | RejectedRow]:
    number = 0
    for number, row in enumerate(rows, 1):
        if number % OFTEN == 0:
            progress("reading annotations", number, None)
        yield row
    progress("reading annotations", number, number)
