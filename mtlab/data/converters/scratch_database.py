"""Joining annotation files of any size: on disk, not in memory."""

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
    """A database on disk that is thrown away after the conversion.

    Args:
        path: where it is made; what is there is overwritten.

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
        given = iter(rows)
        while chunk := list(islice(given, CHUNK)):
            marks = ",".join("?" * len(chunk[0]))
            with _told(self.path):
                self.database.execute("begin")
                self.database.executemany(f"insert into {name} values ({marks})", chunk)
                self.database.execute("commit")
        return name

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        with _told(self.path):
            return self.database.execute(statement, values)

    def matched(
        self, left: Iterable[tuple[Any, Any]], right: Iterable[tuple[Any, Any]]
    ) -> Iterator[tuple[Any, Any | None, Any | None]]:
        """Match two lists of (id, data) by id: all of `left` in their order, then what of `right` is left over.

        Of several in `right` with one id the first is matched; the others are left over. Data are what JSON can hold.
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
        left_over = self.execute(
            f"select r.id, r.data from {second} r where not exists (select 1 from {first} l where l.id = r.id) "
            f"or exists (select 1 from {second} s where s.id = r.id and s.rowid < r.rowid) order by r.rowid"
        )
        for key, data in left_over:
            yield key, None, json.loads(data)
        self.execute(f"drop table {first}")
        self.execute(f"drop table {second}")

    def close(self) -> None:
        """Close the database; its file stays."""
        self.database.close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Wrap writing, so that a full disk is told in one line."""
    with files.explain_disk_errors(path):
        try:
            yield
        except sqlite3.OperationalError as error:
            if "disk is full" not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
