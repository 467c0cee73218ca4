"""A temporary database, which joins annotation files of any size on disk."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from mtlab import files

CHUNK = 10_000  #: rows in one statement


class ScratchDatabase:
    """A database on disk for the time of a conversion.

    Args:
        path: of the file, which is overwritten.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        self._tables = 0
        with files.explain_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            for setting in ("journal_mode=off", "synchronous=off", "cache_size=-4000", "temp_store=file"):
                self.database.execute(f"pragma {setting}")

    def store(self, columns: str, rows: Iterable[tuple[Any, ...]]) -> str:
        """Write rows into a new table; return its name.

        Args:
            columns: as in `create table`.
            rows: as many values as columns.

        """
        self._tables += 1
        name = f"t{self._tables}"
        self.execute(f"create table {name} ({columns})")
        remaining = iter(rows)
        while chunk := list(islice(remaining, CHUNK)):
            marks = ",".join("?" * len(chunk[0]))
            with _explain_full_disk(self.path):
                self.database.execute("begin")
                self.database.executemany(f"insert into {name} values ({marks})", chunk)
                self.database.execute("commit")
        return name

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        with _explain_full_disk(self.path):
            return self.database.execute(statement, values)

    def match(
        self, left: Iterable[tuple[Any, Any]], right: Iterable[tuple[Any, Any]]
    ) -> Iterator[tuple[Any, Any | None, Any | None]]:
        """Join two lists of (id, data) by id: all of `left` in their order, then the unmatched rest of `right`.

        Of several in `right` with one id, the first is matched and the others belong to the rest. Data are JSON.
        """
        first = self.store("id, data text", ((key, json.dumps(data)) for key, data in left))
        second = self.store("id, data text", ((key, json.dumps(data)) for key, data in right))
        self.execute(f"create index {first}_id on {first} (id)")
        self.execute(f"create index {second}_id on {second} (id)")
        matches = self.execute(
            f"select l.id, l.data, (select r.data from {second} r where r.id = l.id order by r.rowid limit 1) "
            f"from {first} l order by l.rowid"
        )
        for key, data, other in matches:
            yield key, json.loads(data), None if other is None else json.loads(other)
        rest = self.execute(
            f"select r.id, r.data from {second} r where not exists (select 1 from {first} l where l.id = r.id) "
            f"or exists (select 1 from {second} s where s.id = r.id and s.rowid < r.rowid) order by r.rowid"
        )
        for key, data in rest:
            yield key, None, json.loads(data)
        self.execute(f"drop table {first}")
        self.execute(f"drop table {second}")

    def close(self) -> None:
        """Close the database without deleting its file."""
        self.database.close()


@contextmanager
def _explain_full_disk(path: Path) -> Iterator[None]:
    """Turn SQLite's error for a full disk into an `OSError`, which becomes a `UserError`."""
    with files.explain_disk_errors(path):
        try:
            yield
        except sqlite3.OperationalError as error:
            if "disk is full" not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
