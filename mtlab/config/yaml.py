"""Reading YAML strictly: plain data only, every key with its line, none of YAML 1.1's surprises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

import yaml

from mtlab.errors import UserError

MAX_DEPTH = 64  #: deeper nesting is a mistake or an attack
MAX_VALUES = 100_000  #: so are more values than this, once aliases are written out
MAX_DIGITS = 300  #: and whole numbers that no float can hold


@dataclass(frozen=True)
class Document:
    """A YAML file as plain data, with the line of every key."""

    path: Path
    data: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)  #: dotted key → line, from 1

    def line(self, key: str | None) -> int | None:
        """Return the line of `key`, or of its nearest parent that is written in the file."""
        while key:
            if key in self.lines:
                return self.lines[key]
            key = key.rpartition(".")[0]
        return None

    def error(self, problem: str, key: str | None = None) -> UserError:
        """Make a `UserError` that names this file, the key and its line."""
        return UserError(problem, file=self.path, key=key, line=self.line(key))


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core types: `on` and `no` are words, `012` is 12, `1e-4` is a number, `12:30` is a word."""

    yaml_implicit_resolvers: ClassVar[Any] = {}  # type: ignore[misc] # the stub has it per instance


class _Dumper(yaml.SafeDumper):
    """Writes every value in full, and quotes words that YAML 1.1 or `_Loader` would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's
        """Write no aliases."""
        return True


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    for _reads in (_Loader, _Dumper):
        _reads.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def dump(data: Mapping[str, Any]) -> str:
    """Write plain data as YAML that `parse` reads back as it was.

    Raises:
        yaml.YAMLError: it holds something else than mappings, lists, texts and numbers.

    """
    return yaml.dump(
        dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None
    )


def scalar(text: str) -> Any:
    """Read one value as it would be read in a file: for `key=value` on the command line."""
    return parse(text, Path("command line"), mapping=False).data["value"]


def read(path: Path) -> Document:
    """Read a YAML file that holds a mapping.

    Raises:
        UserError: the file is missing, binary, empty, not YAML, no mapping, or holds a duplicate key, a tag
            or a resolver.

    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        beside = get_close_matches(path.name, [each.name for each in path.parent.glob("*.y*ml")], n=1)
        hint = f"; did you mean {str(path.with_name(beside[0]))!r}?" if beside else ""
        raise UserError(f"no such file{hint}", file=path) from None
    except IsADirectoryError:
        raise UserError("is a folder, not a YAML file", file=path) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("is not a text file (expected YAML in UTF-8)", file=path) from None
    if not text.strip():
        raise UserError("is empty (expected a YAML mapping)", file=path)
    return parse(text, path)


def parse(text: str, path: Path, *, mapping: bool = True) -> Document:
    """Parse YAML text; see `read`. With `mapping=False` any value is taken, under the key "value"."""
    for number, content in enumerate(text.splitlines(), 1):
        if content.startswith("\t") or re.match(r"^ *\t", content):
            raise UserError("indented with a tab (use spaces)", file=path, line=number)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        hint = "" if line is None else _quote_hint(text.splitlines()[line - 1 : line])
        raise UserError(f"is not YAML: {error.problem or error}{hint}", file=path, line=line) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"is not YAML: {error}", file=path) from None
    lines: dict[str, int] = {}
    if node is None:
        raise UserError("is empty (expected a YAML mapping)", file=path)
    if mapping and not isinstance(node, yaml.MappingNode):
        raise UserError("expected a mapping (`key: value` lines) at the top", file=path, line=node.start_mark.line + 1)
    value = _plain(node, path, "", lines, 0, frozenset())
    return Document(path, value if mapping else {"value": value}, lines)


def _quote_hint(lines: list[str]) -> str:
    """Say how a line is quoted whose value holds what has a meaning in YAML, such as a colon and a space."""
    found = re.match(r"^[\s-]*([\w.-]+): +([^\s\"'{\[|>#].*?)\s*$", "".join(lines))
    if found is None or not (re.search(r": |:$| #", found[2]) or found[2][0] in "*&!%@`"):
        return ""
    quoted = found[2].replace("'", "''")
    return f"; quote the value: {found[1]}: '{quoted}'"


def _plain(node: yaml.Node, path: Path, key: str, lines: dict[str, int], depth: int, seen: frozenset[int]) -> Any:
    line = node.start_mark.line + 1
    if depth > MAX_DEPTH or id(node) in seen:
        raise UserError(f"nested deeper than {MAX_DEPTH} levels", file=path, key=key or None, line=line)
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.rpartition(":")[2] not in _PLAIN:
        raise UserError(
            f"YAML tag {node.tag!r} is not allowed (plain data only)", file=path, key=key or None, line=line
        )
    if len(lines) > MAX_VALUES:
        raise UserError(f"holds more than {MAX_VALUES} values", file=path)
    within = seen | {id(node)}
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            name, at = _name(key_node, path, key), key_node.start_mark.line + 1
            dotted = f"{key}.{name}" if key else name
            if name in result:
                raise UserError(f"duplicate key (first on line {lines[dotted]})", file=path, key=dotted, line=at)
            lines[dotted] = at
            result[name] = _plain(value_node, path, dotted, lines, depth + 1, within)
        return result
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            dotted = f"{key}[{index}]"
            lines[dotted] = item.start_mark.line + 1
            items.append(_plain(item, path, dotted, lines, depth + 1, within))
        return items
    return _scalar(node, path, key, line)


def _name(node: yaml.Node, path: Path, key: str) -> str:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":merge"):
        raise UserError("keys must be plain words", file=path, key=key or None, line=line)
    if not node.value:
        raise UserError("empty key", file=path, key=key or None, line=line)
    return str(node.value)


def _scalar(node: yaml.Node, path: Path, key: str, line: int) -> Any:
    kind, text = node.tag.rpartition(":")[2], str(node.value)
    if kind == "str":
        if "${" in text:
            raise UserError("resolvers (${…}) are not allowed: write the value", file=path, key=key or None, line=line)
        try:  # two halves are one character, as JSON writes it: "\\ud83d\\ude00"
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise UserError("holds half of a character", file=path, key=key or None, line=line) from None
        if "\0" in text:
            raise UserError("holds a zero byte", file=path, key=key or None, line=line)
        return text
    try:
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            if len(text) > MAX_DIGITS:
                raise ValueError
            return int(text)
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise UserError(f"{text[:40]!r} is not a valid {kind}", file=path, key=key or None, line=line) from None


_PLAIN = {"map", "seq", "str", "null", "bool", "int", "float"}
