"""Addresses of pages: which page, and all choices made on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qs, quote, unquote, urlencode

Value = TypeVar("Value", bound=str)
AddressValue = str | Sequence[str] | None


@dataclass(frozen=True)
class PageAddress:
    """A parsed address. Its values are untrusted: read them against known names with `one` and `many`."""

    path: tuple[str, ...] = ()  #: ("study", "managers")
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, pathname: str | None, search: str | None) -> PageAddress:
        """Parse an address as the browser gives it."""
        parts = tuple(unquote(part) for part in (pathname or "").split("/") if part)
        found = parse_qs((search or "").removeprefix("?"), keep_blank_values=True)
        return cls(parts, {name: tuple(values) for name, values in found.items()})

    def text(self, name: str) -> str:
        """Return the raw value of `name`; empty if there is none."""
        return self.chosen.get(name, ("",))[0]

    def one(self, name: str, known: Iterable[Value], default: Value) -> Value:
        """Return the value of `name` if it is one of `known`, else the default."""
        return next((value for value in known if value == self.text(name)), default)

    def many(self, name: str, known: Iterable[str]) -> list[str]:
        """Return the values of `name` that are in `known`, in the order of `known`."""
        values = set(self.chosen.get(name, ()))
        return [value for value in known if value in values]

    def changed(self, changes: Mapping[str, AddressValue]) -> PageAddress:
        """Replace values; None, an empty text or an empty list remove a name."""
        chosen = {**self.chosen, **{name: _as_tuple(value) for name, value in changes.items()}}
        return PageAddress(self.path, {name: values for name, values in chosen.items() if values})

    @property
    def pathname(self) -> str:
        """The part of the address before the `?`."""
        return "/" + "/".join(quote(part, safe="") for part in self.path)

    @property
    def search(self) -> str:
        """The part of the address from the `?` on; empty without choices."""
        written = urlencode(self.chosen, doseq=True)
        return f"?{written}" if written else ""

    @property
    def href(self) -> str:
        """The whole address, below that of the server."""
        return self.pathname + self.search


def page_href(*path: str, **chosen: AddressValue) -> str:
    """Write the address of a page.

    >>> page_href("study", "a b", tab="layers", runs=["x/s0", "y/s0"])
    '/study/a%20b?tab=layers&runs=x%2Fs0&runs=y%2Fs0'
    """
    return PageAddress(path).changed(chosen).href


def run_href(run: str, **chosen: AddressValue) -> str:
    """Write the address of a run's page, `<cell>/s<seed>`."""
    return page_href("run", *run.split("/"), **chosen)


def _as_tuple(value: AddressValue) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(value or ())
