"""Streaming annotation files (JSON lists, JSON lines, text), and reading fields of a required type."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ijson

from mtlab.data.converters.base import BadRowError
from mtlab.errors import UserError, one_line

LONGEST_LINE = 2**24  #: bytes; a longer line is no annotation, and could fill the memory


def stream_list(path: Path, *inside: str) -> Iterator[tuple[str, Any]]:
    """Yield the elements of a list in a JSON file, each with its place: `FILE: annotations[17]`.

    Args:
        path: the file.
        inside: keys that lead to the list; none: the file is the list.

    Raises:
        UserError: it is not JSON, is cut off, or has no such list.

    """
    wanted, number = ".".join(inside), -1
    with _open(path) as stream:
        try:
            for number, item in enumerate(ijson.items(stream, ".".join((*inside, "item")), use_float=True)):
                yield f"{path.name}: {wanted}[{number}]", item
        except (ijson.JSONError, ValueError) as error:
            raise UserError(f"is not whole JSON ({one_line(error, 120)}): damaged, or cut off?", file=path) from None
    if number < 0:
        missing = f"has no list {wanted!r} with anything in it" if wanted else "is no list with anything in it"
        raise UserError(f"{missing}{_top_keys(path)}", file=path)


def read_top_value(path: Path, key: str) -> Any:
    """Return a plain value at the top level of a JSON file, if it comes before all lists; else None."""
    with _open(path) as stream:
        try:
            for prefix, event, value in ijson.parse(stream, use_float=True):
                if event == "start_array":
                    return None
                if prefix == key and event in ("string", "number", "boolean"):
                    return value
        except (ijson.JSONError, ValueError):
            return None  # reading the whole file raises the error
    return None


class RepeatedKeyError(Exception):
    """A JSON object has a key twice."""


def reject_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the pairs of a JSON object a dictionary.

    Raises:
        RepeatedKeyError: a key is given twice; `json` alone would take the last.

    """
    row: dict[str, Any] = {}
    for key, value in pairs:
        if key in row:
            raise RepeatedKeyError(f"key {key!r} is given twice")
        row[key] = value
    return row


def stream_json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield each value of a file of JSON lines with its place, `FILE:LINE`. Blank lines are skipped.

    A line that is no JSON is yielded as text, one with a key given twice as an error: looking for a key in it raises.

    Raises:
        UserError: the file is empty, or no text.

    """
    empty = True
    for number, raw in stream_text_lines(path):
        if not raw.strip():
            continue
        empty = False
        try:
            row = json.loads(raw, object_pairs_hook=reject_repeated_keys)
        except RepeatedKeyError as error:
            row = error
        except (ValueError, RecursionError):
            row = raw
        yield f"{path.name}:{number}", row
    if empty:
        raise UserError("is empty (expected a JSON object on each line)", file=path)


def stream_text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file with their numbers from 1, without line ends.

    Raises:
        UserError: it is not UTF-8, or has no lines.

    """
    with _open(path) as stream:
        number = 0
        while raw := stream.readline(LONGEST_LINE):
            number += 1
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise UserError("is not UTF-8 text", file=path, line=number) from None
            if len(raw) == LONGEST_LINE and not text.endswith("\n"):
                raise UserError(f"has more than {LONGEST_LINE:,} bytes: another file?", file=path, line=number)
            yield number, text.rstrip("\r\n")


def text_field(row: Any, key: str) -> str:
    """Return a text field of a row, stripped.

    Raises:
        BadRowError: it is missing, empty, no text, or not encodable as UTF-8.

    """
    value = field(row, key)
    if not isinstance(value, str):
        raise BadRowError(f"{key}: expected text in quotes, found {shorten(value)}")
    value = value.strip()
    if not value:
        raise BadRowError(f"{key}: is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRowError(f"{key}: holds half a character (an unpaired surrogate)") from None
    return value


def number_field(row: Any, key: str) -> int:
    """Return an integer field of a row, also if it is written as text.

    Raises:
        BadRowError: it is missing or no whole number.

    """
    value = field(row, key)
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise BadRowError(f"{key}: expected a whole number, found {shorten(value)}")
    return value


def list_field(row: Any, key: str) -> list[Any]:
    """Return a list field of a row.

    Raises:
        BadRowError: it is missing or no list.

    """
    value = field(row, key)
    if not isinstance(value, list):
        raise BadRowError(f"{key}: expected a list, found {shorten(value)}")
    return value


def field(row: Any, key: str) -> Any:
    """Return a field of a row.

    Raises:
        BadRowError: the row is no object, or lacks the key.

    """
    if isinstance(row, RepeatedKeyError):
        raise BadRowError(str(row))
    if not isinstance(row, dict):
        raise BadRowError(f"expected an object with {key!r}, found {shorten(row)}")
    if key not in row:
        has = ", ".join(map(repr, list(row)[:6])) or "nothing"
        raise BadRowError(f"lacks {key!r} (has {has})")
    return row[key]


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None


def _top_keys(path: Path) -> str:
    """Describe the top level of a JSON file."""
    keys: list[str] = []
    with path.open("rb") as stream:
        for prefix, event, value in ijson.parse(stream):
            if prefix == "" and event == "start_array":
                return ": the file is a list; is it of another data set?"
            if prefix == "" and event == "map_key":
                keys.append(value)
    return f" (found: {', '.join(keys[:8])}); is it of another data set?" if keys else ""


def shorten(value: Any) -> str:
    """Describe a value of a row, for errors."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "…"
