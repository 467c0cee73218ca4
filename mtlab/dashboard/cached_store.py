"""The run store, read again and again: what has not changed is not read twice, and damage is told instead of raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from mtlab import files
from mtlab.errors import UserError
from mtlab.runs import schemas
from mtlab.runs.store import State, Store, whole_plan

T = TypeVar("T")
FileState = tuple[int, int, int]  #: when a file was written, its size, and which file it is: writers replace files


def file_state(path: Path) -> FileState | None:
    """Tell one state of a file from another; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass
class FileCache:
    """What was made of files, for as long as these stay as they are. May be asked from several threads."""

    _held: dict[Any, tuple[Any, Any]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def of(self, path: Path, read: Callable[[Path], T]) -> T:
        """Return `read(path)`; what it raises as a `UserError` is kept too, and raised again.

        Raises:
            FileNotFoundError: there is no such file.

        """
        now = file_state(path)
        if now is None:
            raise FileNotFoundError(path)
        return self.made((path, read), now, lambda: read(path))

    def made(self, name: Any, state: Any, make: Callable[[], T]) -> T:
        """Return what was made under `name` in the same `state`, else make it.

        Two threads may make the same at once: each gets a whole one.
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
            raise held[1]
        found: T = held[1]
        return found


@dataclass
class JsonlTail:
    """A file of JSON lines that grows."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    offset: int = 0
    _lock: Lock = field(default_factory=Lock)

    def read(self, path: Path) -> list[dict[str, Any]]:
        """Read what has come since the last reading; return the numbers of all rows that tell their step."""
        with self._lock:
            fresh, offset = files.read_jsonl_from(path, self.offset)
            if offset < self.offset:
                self.rows.clear()
            self.rows += schemas.logged(fresh)
            self.offset = offset
            return list(self.rows)


@dataclass(frozen=True)
class CachedStore(Store):
    """A store whose files are read when they have changed. A file of a run that cannot be used counts as missing.

    `damage` tells of such files. A damaged plan raises, as there is no study without it.
    """

    kept: FileCache = field(default_factory=FileCache, compare=False, repr=False)

    def plan(self, name: str) -> dict[str, Any]:
        """Read the stored plan of a study.

        Raises:
            UserError: there is none, or it is not one.

        """
        try:
            return self.kept.of(self.study(name) / "plan.json", _plan)
        except FileNotFoundError:
            return super().plan(name)  # raises, and offers the nearest

    def state(self, run: str) -> State:
        """Judge a run by its directory; one whose result is damaged has failed, for whoever compares results."""
        found = super().state(run)
        return "failed" if found == "done" and self.result(run) is None else found

    def config(self, run: str) -> dict[str, Any] | None:
        """Read a run's configuration; None if there is none, or it is damaged."""
        return self._usable(run, "config.json", _config)

    def result(self, run: str) -> dict[str, Any] | None:
        """Read a run's result; None if there is none, or it is damaged."""
        return self._usable(run, "result.json", _result)

    def failure(self, run: str) -> dict[str, Any] | None:
        """Read why a run failed; None if it did not, or the file is damaged."""
        return self._usable(run, "failure.json", _failure)

    def run_state(self, run: str) -> dict[str, Any] | None:
        """Read on what a run runs; None if it does not yet, or the file is damaged."""
        return self._usable(run, "state.json", _state)

    def metrics(self, run: str) -> list[dict[str, Any]]:
        """Read the metrics so far, going on from where the last reading ended; lines that are none are left out."""
        path = self.run(run) / "metrics.jsonl"
        now = file_state(path)
        if now is None:
            return []
        tail = self.kept.made(("tail", path), now[2], JsonlTail)  # a run that resumes replaces the file
        try:
            return tail.read(path)
        except OSError:
            return []

    def damage(self, run: str) -> str | None:
        """Say which files of a run cannot be used, and why; None if all can."""
        told = []
        for name, read in _READERS.items():
            try:
                self.kept.of(self.run(run) / name, read)
            except FileNotFoundError:
                if name == "config.json":
                    told.append("config.json is missing: the folder is half-written, or not mtlab's")
            except UserError as error:
                told.append(f"{name} {error.problem}")
            except OSError as error:
                told.append(f"{name} cannot be read: {error.strerror}")
        return "; ".join(told) or None

    def _usable(self, run: str, name: str, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return self.kept.of(self.run(run) / name, read)
        except (OSError, UserError):
            return None


def _reader(shape: Any) -> Callable[[Path], dict[str, Any]]:
    """Make what reads a file that must have a shape, see `schemas.check`."""

    def read(path: Path) -> dict[str, Any]:
        data: dict[str, Any] = files.read_json(path)
        schemas.check(data, shape, path)
        return data

    return read


def _config(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = files.read_json(path)
    schemas.check(data, schemas.CONFIG | {"config": {}}, path)
    if (data.get("cell"), f"s{data.get('seed')}") != path.parts[-3:-1]:
        raise UserError("is not the configuration of this run", file=path)
    return data


def _plan(path: Path) -> dict[str, Any]:
    return whole_plan(files.read_json(path), path)


_result, _failure, _state = map(_reader, (schemas.RESULT, schemas.FAILURE, schemas.STATE))
_READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "config.json": _config,
    "state.json": _state,
    "result.json": _result,
    "failure.json": _failure,
}
