"""What a conversion leaves out: counted, listed in a file, and refused if it is too much."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mtlab import files
from mtlab.data.converters.base import RejectedRow
from mtlab.errors import UserError

WRONG = 100  #: if the first so many rows of a part are all bad, they are of something else


class RejectLog:
    """Rows and images that are left out.

    Args:
        path: the list, one JSON object a line.
        stream: the same, open for writing.
        max_bad: share of the texts above which all is refused.

    """

    def __init__(self, path: Path, stream: TextIO, max_bad: float) -> None:
        self.path = path
        self._stream = stream
        self._max_bad = max_bad
        self._counts: Counter[tuple[str, bool]] = Counter()
        self._first: dict[tuple[str, bool], RejectedRow] = {}

    def add(self, bad: Iterable[RejectedRow]) -> None:
        """Take more."""
        for each in bad:
            sort = (each.part, each.missing)
            self._counts[sort] += each.texts
            self._first.setdefault(sort, each)
            with files.explain_disk_errors(self.path):
                self._stream.write(to_line(each))

    def count(self, part: str, *, missing: bool) -> int:
        """Count the texts of a part's bad rows and images, or those whose missing image is no fault."""
        return self._counts[part, missing]

    def first(self, part: str) -> str:
        """Tell a part's first bad row or image; where there is none, the first missing one."""
        found = self._first.get((part, False)) or self._first.get((part, True))
        return "the files have no row for it" if found is None else f"{found.place}: {found.reason}"

    def refuse_many(self, whole: int) -> None:
        """Refuse too large a share.

        Args:
            whole: all texts, bad and missing ones included.

        Raises:
            UserError: tells the share, the list and the first case.

        """
        bad = sum(count for (_, missing), count in self._counts.items() if not missing)
        if bad > self._max_bad * whole:
            first = next(each for (_, missing), each in self._first.items() if not missing)
            raise UserError(
                f"{bad:,} of {whole:,} texts cannot be used ({100 * bad / whole:.1f} %), more than --max-bad allows "
                f"({100 * self._max_bad:.4g} %). All are listed here; the first: {first.place}: {first.reason}",
                file=self.path,
            )


@contextmanager
def reject_log(path: Path, max_bad: float) -> Iterator[RejectLog]:
    """Open the list anew; it stays whatever happens, as errors point to it."""
    with files.explain_disk_errors(path):
        stream = path.open("w", encoding="utf-8")
    with stream:
        yield RejectLog(path, stream, max_bad)


def to_line(bad: RejectedRow) -> str:
    """Write a row that is left out as a line."""
    told = {"part": bad.part, "missing": bad.missing, "texts": bad.texts, "place": bad.place, "reason": bad.reason}
    return json.dumps(told) + "\n"


def from_line(line: str) -> RejectedRow:
    """Read what `to_line` wrote."""
    return RejectedRow(**json.loads(line))
