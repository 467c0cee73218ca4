"""One registry for everything that can be named in the YAML: managers, towers, tasks, data sets."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, get_type_hints

from mtlab.config.check import check_config, to_plain
from mtlab.errors import UserError, closest, nearest
from mtlab.plugin_errors import describe_error, format_traceback

T = TypeVar("T")
_REGISTERED: set[type[Any]] = set()  #: in any registry, as two have the same base


class RegistrationError(ValueError):
    """A class cannot be registered; says what is wrong and what would be right."""


@dataclass(frozen=True)
class NoOptions:
    """The options of an entry that has none."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered class and what is known of it before it is built."""

    name: str
    kind: str
    cls: type[T]
    version: int  #: part of every run's id: raise it when the same options give other results
    source: str | None = None  #: digest of a plug-in's file when it was imported; None if it comes with mtlab

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

    @property
    def is_builtin(self) -> bool:
        """Whether it comes with mtlab rather than with a plug-in."""
        return _is_builtin(self.origin)


def _is_builtin(module: str) -> bool:
    return module.partition(".")[0] == "mtlab"


def source_digest(module: ModuleType | None) -> str | None:
    """Digest a module's file as it is now; None if there is none."""
    file = getattr(module, "__file__", None)
    try:
        return None if file is None else hashlib.blake2b(Path(file).read_bytes(), digest_size=6).hexdigest()
    except OSError:  # a module out of an archive, or gone since
        return None


@dataclass(frozen=True)
class PluginFailure:
    """A plug-in that could not be imported, kept for `mtlab doctor` and for messages of lookups."""

    plugin: str
    error: str  #: one line
    trace: str
    missing: bool = False  #: there is no such module

    @classmethod
    def of(cls, plugin: str, error: BaseException) -> PluginFailure:
        """Make one from the error that importing a plug-in raised."""
        return cls(
            plugin,
            str(error) if isinstance(error, RegistrationError) else describe_error(error),
            format_traceback(error),
        )


@dataclass
class Registry(Generic[T]):
    """Maps names to classes, which a decorator registers: built-in ones, and those of installed plug-ins.

    Args:
        kind: the word for an entry in messages, such as "manager".
        packages: the packages whose modules register the built-in entries, imported on the first lookup.
        group: the entry-point group through which an installed package adds its own.
        base: what a registered class must inherit from.

    """

    kind: str
    packages: tuple[str, ...]
    group: str
    base: type[Any] = object
    entries: dict[str, Entry[T]] = field(default_factory=dict)
    failures: list[PluginFailure] = field(default_factory=list)
    has_plugins: bool = False  #: the entries of installed plug-ins are imported
    has_builtin: bool = False  #: the built-in entries are imported

    def register(self, name: str, *, version: int = 1) -> Callable[[type[T]], type[T]]:
        """Register the decorated class under `name`.

        Args:
            name: lower-case letters, digits and _.
            version: part of every run's id: raise it when the same options give other results.

        Raises:
            RegistrationError: the name is taken or is not a lower-case word; the class does not inherit from what all
                entries do, or has a plain method or attribute in place of a class method of it; its `Config` is no
                frozen dataclass with a default for every option.

        """
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            forgot = f'; write @{self.decorator}("NAME")' if isinstance(name, type) else ""
            raise RegistrationError(f"{self.kind} name {name!r}: use lower-case letters, digits and _{forgot}")

        def register(cls: type[T]) -> type[T]:
            if not cls.__module__.startswith("mtlab."):
                self._refuse_unfit(name, cls)
                self.import_builtin()  # or a plug-in could take the name of an entry that is not imported yet
            known = self.entries.get(name)
            if known is not None and (known.origin, known.cls.__qualname__) != (cls.__module__, cls.__qualname__):
                raise RegistrationError(
                    f"{self.kind} {name!r} of {cls.__module__} is registered by {known.origin} already: "
                    "choose another name"
                )
            source = None if _is_builtin(cls.__module__) else source_digest(sys.modules.get(cls.__module__))
            self.entries[name] = Entry(name, self.kind, cls, version, source)
            _REGISTERED.add(cls)
            return cls

        return register

    def _refuse_unfit(self, name: str, cls: Any) -> None:
        """Refuse a class that could not be used, with a message for its author."""
        what = f"{self.kind} {name!r} ({getattr(cls, '__qualname__', cls)} of {getattr(cls, '__module__', '?')})"
        if not isinstance(cls, type) or not issubclass(cls, self.base):
            raise RegistrationError(f"{what} must be a subclass of {self.base.__module__}.{self.base.__qualname__}")
        for method, of_base in vars(self.base).items():
            own = inspect.getattr_static(cls, method)
            if isinstance(of_base, classmethod) and not isinstance(own, classmethod | staticmethod):
                arguments = ", ".join(inspect.signature(of_base.__func__).parameters)
                raise RegistrationError(
                    f"{what}: {method} must be a class method: write @classmethod def {method}({arguments})"
                )
        config = getattr(cls, "Config", NoOptions)
        if not isinstance(config, type) or not dataclasses.is_dataclass(config):
            raise RegistrationError(f"{what}: Config must be a frozen dataclass: put @dataclass(frozen=True) above it")
        if not getattr(config, "__dataclass_params__").frozen:  # noqa: B009 - the stubs have it not
            raise RegistrationError(f"{what}: Config must be frozen: write @dataclass(frozen=True)")
        for option in dataclasses.fields(config):
            if option.default is dataclasses.MISSING and option.default_factory is dataclasses.MISSING:
                raise RegistrationError(f"{what}: option {option.name} of Config needs a default")
        try:
            get_type_hints(config)
        except Exception as error:  # any expression may stand in an annotation
            raise RegistrationError(f"{what}: the types of Config cannot be read: {describe_error(error)}") from error
        try:
            to_plain(check_config(config, {}))
        except Exception as error:  # so may any code in __post_init__, and any value be a default
            raise RegistrationError(
                f"{what}: Config does not work with its defaults: {describe_error(error)}"
            ) from error

    def import_builtin(self) -> None:
        """Import the built-in entries."""
        if self.has_builtin:
            return
        self.has_builtin = True
        for package in self.packages:
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                importlib.import_module(f"{package}.{module.name}")

    def builtin(self, name: str) -> Entry[T] | None:
        """Look up a built-in entry by importing the module of its name alone.

        This avoids torch, which other modules of the package may import. None if there is no such module.
        """
        if name not in self.entries and re.fullmatch(r"[a-z][a-z0-9_]*", name):
            modules = (f"{package}.{name}" for package in self.packages)
            for module in filter(importlib.util.find_spec, modules):
                importlib.import_module(module)
        entry = self.entries.get(name)
        return entry if entry is not None and entry.is_builtin else None

    def import_all(self) -> None:
        """Import the built-in entries and every installed plug-in; one that fails is kept in `failures`."""
        if self.has_plugins:
            return
        self.has_plugins = True
        self.import_builtin()
        for point in metadata.entry_points(group=self.group):
            try:
                self._check_registered(point.load())
            except (Exception, SystemExit) as error:  # a plug-in may raise anything
                self.failures.append(PluginFailure.of(point.value, error))

    def _check_registered(self, loaded: Any) -> None:
        if isinstance(loaded, type) and all(entry.cls is not loaded for entry in self.entries.values()):
            raise RegistrationError(
                f"{loaded.__qualname__} registers nothing: put @{self.decorator}('NAME') above the class"
            )

    @property
    def decorator(self) -> str:
        """The name of the decorator, such as `register_manager`."""
        return f"register_{self.kind.replace(' ', '_')}"

    def get(self, name: str) -> Entry[T]:
        """Return the entry of this name.

        Raises:
            UserError: no such entry; the nearest name is offered, and plug-ins that failed to load are named.

        """
        self.import_all()
        if name in self.entries:
            return self.entries[name]
        notes = f"{self._unregistered_note if closest(name, self.entries) is None else ''}{self.failure_note}"
        raise UserError(f"unknown {self.kind} {name!r}; {nearest(name, self.entries)}{notes}")

    @property
    def _unregistered_note(self) -> str:
        """The classes of plug-ins without a decorator, for messages of lookups that fail."""
        found = [] if self.base is object else list(self.base.__subclasses__())
        for cls in found:
            found += cls.__subclasses__()
        return "".join(
            f' ({cls.__qualname__} of {cls.__module__} is not registered: put @{self.decorator}("NAME") above it)'
            for cls in found
            if cls not in _REGISTERED and not cls.__subclasses__() and cls.__module__.partition(".")[0] != "mtlab"
        )

    @property
    def failure_note(self) -> str:
        """The plug-ins that failed to load, for messages of lookups that fail."""
        note = "".join(f" (plug-in {failure.plugin} failed: {failure.error})" for failure in self.failures)
        return f"{note}; see `mtlab doctor`" if note else ""

    def __iter__(self) -> Iterator[Entry[T]]:
        self.import_all()
        return iter(sorted(self.entries.values(), key=lambda entry: entry.name))
