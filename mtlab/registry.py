"""One registry for everything that can be named in the YAML: managers, towers, tasks, data sets."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Generic, TypeVar

from mtlab.errors import UserError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class NoOptions:
    """The options of an entry that has none."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered class, with what the rest of mtlab may know of it without building it."""

    name: str
    kind: str
    cls: type[T]
    version: int  #: part of every run's id: raise it when the same options give other results

    @property
    def config(self) -> type[Any]:
        """The nested frozen dataclass with the entry's options."""
        return getattr(self.cls, "Config", NoOptions)

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.cls) or "").partition("\n")[0]

    @property
    def origin(self) -> str:
        """The module that it comes from."""
        return self.cls.__module__


@dataclass(frozen=True)
class Failure:
    """A plug-in that could not be imported: kept, so that `mtlab doctor` can show it and a lookup can name it."""

    plugin: str
    error: str
    trace: str


@dataclass
class Registry(Generic[T]):
    """Names to classes: filled by a decorator, from our own package and from third parties' entry points.

    Args:
        kind: what an entry is called in messages: "manager".
        package: the package whose modules register our own entries, imported on the first lookup.
        group: the entry-point group through which an installed package adds its own.

    """

    kind: str
    package: str
    group: str
    entries: dict[str, Entry[T]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    filled: bool = False

    def register(self, name: str, *, version: int = 1) -> Callable[[type[T]], type[T]]:
        """Register the decorated class under `name`.

        Raises:
            ValueError: the name is taken, or is not a lower-case word.

        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{self.kind} name {name!r}: use lower-case letters, digits and _")

        def register(cls: type[T]) -> type[T]:
            known = self.entries.get(name)
            if known is not None and (known.origin, known.cls.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(f"{self.kind} {name!r} of {cls.__module__} is registered by {known.origin} already")
            self.entries[name] = Entry(name, self.kind, cls, version)
            return cls

        return register

    def fill(self) -> None:
        """Import our own entries and every installed plug-in; a plug-in that fails is remembered, never dropped."""
        if self.filled:
            return
        self.filled = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for point in metadata.entry_points(group=self.group):
            try:
                point.load()
            except Exception as error:  # a stranger's code may raise anything
                self.failures.append(Failure(point.value, f"{type(error).__name__}: {error}", traceback.format_exc()))

    def get(self, name: str) -> Entry[T]:
        """Look an entry up.

        Raises:
            UserError: no such entry; the nearest name is offered, and plug-ins that failed to load are named.

        """
        self.fill()
        if name in self.entries:
            return self.entries[name]
        failed = "".join(f" (plug-in {failure.plugin} failed: {failure.error})" for failure in self.failures)
        raise UserError(f"unknown {self.kind} {name!r}; {nearest(name, self.entries)}{failed}")

    def __iter__(self) -> Iterator[Entry[T]]:
        self.fill()
        return iter(sorted(self.entries.values(), key=lambda entry: entry.name))
