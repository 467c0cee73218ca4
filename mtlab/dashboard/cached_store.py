"""A run store that caches what it reads of unchanged files, and reports damaged files instead of raising."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from mtlab import files
from mtlab.errors import UserError
from mtlab.runs import schemas
from mtlab.runs.results import numeric_rows, read_result
from mtlab.runs.store import State, Store, read_plan

T = TypeVar("T")
COMPARED = ("result.json", "checksums.json", "config.json", "examples.parquet", "metrics.jsonl")
FileState = tuple[int, int, int]  #: modification time, size and inode: writers replace files


def file_state(path: Path) -> FileState | None:
    """Return a value that changes when the file does; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass
class FileCache:
    """A cache of values computed from files, valid while these do not change. Thread-safe."""

    _held: dict[Any, tuple[Any, Any]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def read(self, path: Path, read: Callable[[Path], T]) -> T:
        """Return `read(path)`; a `UserError` that it raises is cached too, and raised again.

        Raises:
            FileNotFoundError: there is no such file.

        """
        now = file_state(path)
        if now is None:
            raise FileNotFoundError(path)
        return self.get((path, read), now, lambda: read(path))

    def get(self, name: Any, state: Any, make: Callable[[], T]) -> T:
        """Return the value cached under `name` for this `state`, else make it.

        Two threads may make the same value at once.
        """
        with self._lock:
            held = self._held.get(name)
        if held is None or held[0] != state:
            try:
                held = (state, make())
            except UserError as error:
                held = (state, error)
            with self._lock:
                self._held[name] = held
        if isinstance(held[1], UserError):
            raise held[1].with_traceback(None)  # else it would grow, and hold its frames, each time
        value: T = held[1]
        return value

    def forget(self, name: Any) -> None:
        """Drop the value cached under `name`, if there is one."""
        with self._lock:
            self._held.pop(name, None)


@dataclass
class JsonlTail:
    """A growing file of JSON lines."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    offset: int = 0
    _lock: Lock = field(default_factory=Lock)

    def read(self, path: Path) -> list[dict[str, Any]]:
        """Read the lines written since the last call; return the numbers of all rows that have a step."""
        with self._lock:
            fresh, offset = files.read_jsonl_from(path, self.offset)
            if offset < self.offset:
                self.rows.clear()
            self.rows += numeric_rows(fresh)
            self.offset = offset
            return list(self.rows)


@dataclass(frozen=True)
class CachedStore(Store):
    """A store that reads files again only when they have changed. An unusable file of a run counts as missing.

    `damage` names such files. A damaged plan raises, as there is no study without it.
    """

    cache: FileCache = field(default_factory=FileCache, compare=False, repr=False)

    def plan(self, name: str) -> dict[str, Any]:
        """Read the stored plan of a study.

        Raises:
            UserError: there is none, or it is not one.

        """
        try:
            return self.cache.read(self.study(name) / "plan.json", read_plan)
        except FileNotFoundError:
            return super().plan(name)  # raises, and offers the nearest

    def state(self, run: str) -> State:
        """Return the state of a run by its directory; a run with a damaged result counts as failed."""
        found = super().state(run)
        return "failed" if found == "done" and self.result(run) is None else found

    def config(self, run: str) -> dict[str, Any] | None:
        """Read a run's configuration; None if there is none, or it is damaged."""
        return self._usable(run, "config.json", _config)

    def result(self, run: str) -> dict[str, Any] | None:
        """Read a run's result; None if there is none, or it is damaged."""
        folder = self.run(run)
        state = file_state(folder / "result.json"), file_state(folder / "checksums.json")
        try:
            return self.cache.get(("result", folder), state, lambda: read_result(folder))
        except (OSError, UserError):
            return None

    def failure(self, run: str) -> dict[str, Any] | None:
        """Read why a run failed; None if it did not, or the file is damaged."""
        return self._usable(run, "failure.json", _failure)

    def run_state(self, run: str) -> dict[str, Any] | None:
        """Read the machine and attempt of a run; None if it has not started, or the file is damaged."""
        return self._usable(run, "state.json", _state)

    def metrics(self, run: str) -> list[dict[str, Any]]:
        """Read the metrics so far, without lines that are no metrics; only new lines are read from the file."""
        path = self.run(run) / "metrics.jsonl"
        now = file_state(path)
        if now is None:
            return []
        tail = self.cache.get(("tail", path), now[2], JsonlTail)  # a run that resumes replaces the file
        try:
            return tail.read(path)
        except OSError:
            return []

    def damage(self, run: str) -> str | None:
        """Say which files of a run are unusable, and what to do; None if all are fine."""
        directory = self.run(run)
        if directory.is_dir() and not (directory / "config.json").exists():
            return "config.json is missing: the folder is half-written, or not mtlab's"
        try:
            now = [file_state(path) for path in sorted(directory.rglob("*"))]
            return self.cache.get(("damage", directory), now, lambda: super(CachedStore, self).damage(run))
        except OSError as error:
            return f"cannot be read: {error.strerror}"

    def compared_files(self, run: str) -> tuple[FileState | None, ...]:
        """Return a value that changes when a file of a finished run does that summaries and reports read."""
        folder = self.run(run)
        return tuple(file_state(folder / name) for name in COMPARED)

    def _usable(self, run: str, name: str, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return self.cache.read(self.run(run) / name, read)
        except (OSError, UserError):
            return None


def _config(path: Path) -> dict[str, Any]:
    data = schemas.read(path, schemas.ConfigFile)
    if (data.get("cell"), f"s{data.get('seed')}") != path.parts[-3:-1]:
        raise UserError("is not the configuration of this run", file=path)
    return data


_failure, _state = (partial(schemas.read, schema=each) for each in (schemas.FailureFile, schemas.StateFile))
