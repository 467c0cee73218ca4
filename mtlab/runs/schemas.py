"""What the JSON files of a store hold, for those that people may change by hand and no checksum covers.

Keys that nobody reads may be missing, and further keys are ignored.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

import msgspec

from mtlab import files
from mtlab.errors import UserError

CHANGED = "it was changed by hand, or the disk is damaged"

Integer = Annotated[int, msgspec.Meta(ge=-(2**63) + 1, le=2**63 - 1)]  #: a whole number that tables can hold
Number = Annotated[float, msgspec.Meta(ge=-1e100, le=1e100)]


Level = Annotated[str, msgspec.Meta(pattern="^[0-9]+$")]  #: of a tower, as a key


class StoreFile(TypedDict):
    """`store.json`."""

    format: int


class _Sections(TypedDict, total=False):
    train: dict[str, Any]
    init_from: str | dict[str, Any] | None


class ConfigFile(TypedDict, total=False):
    """`config.json` of a run, written by the launcher."""

    cell: Required[str]
    seed: Required[Integer]
    label: str
    config: Required[_Sections]
    code: str | None
    plugin_code: dict[str, str]


class _Commit(TypedDict, total=False):
    commit: str | None


class StateFile(TypedDict, total=False):
    """`state.json` of a run, written by its worker at the start of an attempt."""

    attempt: Required[Integer]
    host: str | None
    device: str | None
    threads: Integer | None
    processes: Integer
    versions: dict[str, str | None] | None
    git: _Commit | None


class FailureFile(TypedDict, total=False):
    """`failure.json` of a run, written by its worker."""

    kind: str
    error: str
    where: str | None
    attempt: Integer
    trace: str | None


class _Modality(TypedDict, total=False):
    uniform: Number | None
    token_mean: Number | None
    without: Required[dict[Level, Number | None]]
    families: dict[Level, dict[str, Number | None]]


class _Standard(TypedDict):
    metric: str
    text: _Modality
    image: _Modality


class _Swap(TypedDict):
    metric: str
    text: Number | None
    image: Number | None
    both: Number | None


def check(data: Any, schema: Any, path: Path, *, advice: str = CHANGED) -> None:
    """Check that the content of a JSON file has a schema.

    Args:
        data: the content.
        schema: a type that msgspec knows.
        path: the file.
        advice: what can be done about it.

    Raises:
        UserError: it has not; the first key that is wrong is named.

    """
    try:
        msgspec.convert(data, schema)
    except msgspec.ValidationError as error:
        raise UserError(f"is damaged ({_describe(error, data, schema)}): {advice}", file=path) from None


def read(path: Path, schema: Any) -> dict[str, Any]:
    """Read a JSON file and check that its content has a schema, see `check`.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is no JSON, or has not.

    """
    data: dict[str, Any] = files.read_json(path)
    check(data, schema, path)
    return data


def check_interventions(data: Any, path: Path, *, advice: str = CHANGED) -> None:
    """Check the measured interventions of a run: `standard`, and `swap/SEED` for those with another run's weights.

    Raises:
        UserError: as `check`.

    """
    check(data, dict[str, dict[str, Any]], path, advice=advice)
    for name, measured in data.items():
        if name != "standard" and not re.fullmatch(r"swap/\d+", name):
            raise UserError(f"is damaged (unknown key {name!r}): {advice}", file=path)
        schema: Any = dict[str, _Standard] if name == "standard" else dict[str, _Swap]
        check({name: measured}, schema, path, advice=advice)


def _describe(error: msgspec.ValidationError, data: Any, schema: Any) -> str:
    """Write an error of msgspec as `versions.torch: expected str, got int`."""
    problem, _, place = str(error).replace("`", "").replace("at key in $", "at $").partition(" - at $")
    shown, inner = "", data
    for token in re.findall(r"\.[^.\[]+|\[\d+\]|\[\.\.\.\]", place):
        if token.startswith("."):
            key: Any = token[1:]
        else:
            key = _first_wrong_key(inner, data, schema) if token == "[...]" else int(token[1:-1])
        shown += f"[{key}]" if isinstance(key, int) else f".{key}"
        inner = inner[key]
    return f"{shown[1:]}: " * bool(shown) + problem[:1].lower() + problem[1:]


def _first_wrong_key(mapping: dict[str, Any], data: Any, schema: Any) -> str:
    """Return the first key of a mapping within the data whose value does not fit, which msgspec does not name."""
    items = dict(mapping)
    try:
        for key, value in items.items():
            mapping.clear()
            mapping[key] = value
            try:
                msgspec.convert(data, schema)
            except msgspec.ValidationError:
                return key
    finally:
        mapping.clear()
        mapping.update(items)
    return "…"
