"""Rows and images that a conversion rejects: counted, logged to a file, and an error if they are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import msgspec

from mtlab import files
from mtlab.data.converters.base import RejectedRow
from mtlab.errors import UserError

WRONG_FILE = 100  #: if so many first rows of a part are all bad, it is the wrong file


class RejectLog:
    """The rejected rows and images of a conversion.

    Args:
        path: of the log, a JSONL file.
        stream: the same, open for writing.
        max_bad: highest share of the texts that may be rejected.

    """

    def __init__(self, path: Path, stream: TextIO, max_bad: float) -> None:
        self.path = path
        self._stream = stream
        self._max_bad = max_bad
        self._counts: Counter[tuple[str, bool]] = Counter()
        self._first: dict[tuple[str, bool], RejectedRow] = {}

    def add(self, bad: Iterable[RejectedRow]) -> None:
        """Count and log rejected rows."""
        for each in bad:
            kind = (each.part, each.missing)
            self._counts[kind] += each.texts
            self._first.setdefault(kind, each)
            with files.explain_disk_errors(self.path):
                self._stream.write(reject_to_line(each))

    def count(self, part: str, *, missing: bool) -> int:
        """Count a part's rejected texts: those with bad rows or images, or those whose image is missing as expected."""
        return self._counts[part, missing]

    def first(self, part: str, none: str = "") -> str:
        """Describe a part's first bad row or image; where there is none, its first missing image, or else `none`."""
        found = self._first.get((part, False)) or self._first.get((part, True))
        return none if found is None else f"{found.place}: {found.reason}"

    def check_share(self, total: int) -> None:
        """Check the share of bad texts.

        Args:
            total: all texts, bad and missing ones included.

        Raises:
            UserError: too many are bad; names the share, the log and the first case.

        """
        bad = sum(count for (_, missing), count in self._counts.items() if not missing)
        if bad > self._max_bad * total:
            first = next(each for (_, missing), each in self._first.items() if not missing)
            raise UserError(
                f"{bad:,} of {total:,} texts cannot be used ({100 * bad / total:.1f} %), more than --max-bad allows "
                f"({100 * self._max_bad:.4g} %). All are listed here; the first: {first.place}: {first.reason}",
                file=self.path,
            )


@contextmanager
def reject_log(path: Path, max_bad: float) -> Iterator[RejectLog]:
    """Open an empty log; it is kept in any case, because errors point to it."""
    with files.explain_disk_errors(path):
        stream = path.open("w", encoding="utf-8")
    with stream:
        yield RejectLog(path, stream, max_bad)


def reject_to_line(bad: RejectedRow) -> str:
    """Serialise a rejected row as a JSON line."""
    return msgspec.json.encode(bad).decode() + "\n"


def parse_reject(line: str) -> RejectedRow:
    """Parse what `reject_to_line` wrote."""
    return msgspec.json.decode(line, type=RejectedRow)
