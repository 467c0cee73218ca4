"""Annotation files read piece by piece: JSON lists, JSON lines, and fields that are there and of the right kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ijson

from mtlab.data.converters.base import BadRowError
from mtlab.errors import UserError

LONGEST_LINE = 2**24  #: bytes; a longer one is no line of annotations, and would fill the memory


def items(path: Path, *inside: str) -> Iterator[tuple[str, Any]]:
    """Give the elements of a list in a JSON file one by one, each with its place: `FILE: annotations[17]`.

    Args:
        path: the file.
        inside: keys that lead to the list; none: the file is the list.

    Raises:
        UserError: it is not JSON, is cut off, or has no such list.

    """
    wanted, number = ".".join(inside), -1
    with _read(path) as stream:
        try:
            for number, item in enumerate(ijson.items(stream, ".".join((*inside, "item")), use_float=True)):
                yield f"{path.name}: {wanted}[{number}]", item
        except (ijson.JSONError, ValueError) as error:
            told = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"is not whole JSON ({told[:120]}): damaged, or cut off?", file=path) from None
    if number < 0:
        missing = f"has no list {wanted!r} with anything in it" if wanted else "is no list with anything in it"
        raise UserError(f"{missing}{_instead(path)}", file=path)


def head(path: Path, key: str) -> Any:
    """Return a plain value at the top of a JSON file, if it stands before all lists; else None."""
    with _read(path) as stream:
        try:
            for prefix, event, value in ijson.parse(stream, use_float=True):
                if event == "start_array":
                    return None
                if prefix == key and event in ("string", "number", "boolean"):
                    return value
        except (ijson.JSONError, ValueError):
            return None  # told by whoever reads the whole
    return None


def lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Give what stands on each line of a file of JSON lines, with its place: `FILE:LINE`. Blank lines are passed over.

    A line that is no JSON is given as it stands: whoever looks for a key in it says that it is no object.

    Raises:
        UserError: the file is empty, or no text.

    """
    empty = True
    for number, raw in text_lines(path):
        if not raw.strip():
            continue
        empty = False
        try:
            row = json.loads(raw)
        except (ValueError, RecursionError):
            row = raw
        yield f"{path.name}:{number}", row
    if empty:
        raise UserError("is empty (expected a JSON object on each line)", file=path)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Give the lines of a text file with their numbers from 1, without line ends.

    Raises:
        UserError: it is not UTF-8, or has no lines.

    """
    with _read(path) as stream:
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


def text(row: Any, key: str) -> str:
    """Return a text of a row, without blanks around it.

    Raises:
        BadRowError: it is missing, empty, no text, or cannot be written as UTF-8.

    """
    value = present(row, key)
    if not isinstance(value, str):
        raise BadRowError(f"{key}: expected text, found {_shown(value)}")
    value = value.strip()
    if not value:
        raise BadRowError(f"{key}: is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRowError(f"{key}: holds half a character (an unpaired surrogate)") from None
    return value


def number(row: Any, key: str) -> int:
    """Return a whole number of a row, also one written as text.

    Raises:
        BadRowError: it is missing or no whole number.

    """
    value = present(row, key)
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise BadRowError(f"{key}: expected a whole number, found {_shown(value)}")
    return value


def listed(row: Any, key: str) -> list[Any]:
    """Return a list of a row.

    Raises:
        BadRowError: it is missing or no list.

    """
    value = present(row, key)
    if not isinstance(value, list):
        raise BadRowError(f"{key}: expected a list, found {_shown(value)}")
    return value


def present(row: Any, key: str) -> Any:
    """Return what a row has under a key.

    Raises:
        BadRowError: the row is no object, or lacks the key.

    """
    if not isinstance(row, dict):
        raise BadRowError(f"expected an object with {key!r}, found {_shown(row)}")
    if key not in row:
        has = ", ".join(map(repr, list(row)[:6])) or "nothing"
        raise BadRowError(f"lacks {key!r} (has {has})")
    return row[key]


def _read(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None


def _instead(path: Path) -> str:
    """Say what a JSON file has at its top."""
    keys: list[str] = []
    with path.open("rb") as stream:
        for prefix, event, value in ijson.parse(stream):
            if prefix == "" and event == "start_array":
                return ": the file is a list; is it of another data set?"
            if prefix == "" and event == "map_key":
                keys.append(value)
    return f" (found: {', '.join(keys[:8])}); is it of another data set?" if keys else ""


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    told = json.dumps(value, default=str)
    return told if len(told) <= 40 else told[:37] + "…"
