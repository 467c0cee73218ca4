"""Composing a YAML file with its bases and the overrides of the command line.

Precedence, lowest first: defaults, `base` from left to right, the file itself, the command line. Mappings merge, lists
replace. Two things are replaced whole, as half of one makes no sense with half of another: what has a `name` that
changes, or of `init_from` another study or checkpoint, and `train.length`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtlab.config import yaml
from mtlab.config.conditions import CONDITIONS, spell_out
from mtlab.config.credentials import find_credentials
from mtlab.config.schema import NAMED, NAMED_BY, UNNAMED, WHOLE
from mtlab.errors import UserError, nearest

COMMAND_LINE = "command line"  #: stands for the file of an override
KINDS = ("values", "zip", "float", "int", "choice")  #: what an axis or a parameter is: one of them
OF_A_KIND = (*KINDS, "labels", "log", "step")  #: what goes with the kind
BY_PATH = ("axes", "over", "space", "baseline", "start_from")  #: keys of a file whose own keys are dotted settings
_WITHIN = re.compile(rf"(.+?)\.({'|'.join((*OF_A_KIND, *CONDITIONS))})(?:\.(.+))?")  #: an axis, and what it holds

Location = tuple[Path | str, int | None]  #: file and line


@dataclass(frozen=True)
class ComposedFile:
    """A file with its bases and overrides merged in, and where each key was written."""

    path: Path
    data: dict[str, Any]
    locations: dict[str, Location] = field(default_factory=dict)  #: where each key was written

    def location(self, key: str | None) -> Location:
        """Return where `key`, or its nearest parent, was written."""
        at = key
        while at:
            if at in self.locations:
                return self.locations[at]
            at = at[: max(at.rfind("."), at.rfind("["), 0)]
        return self.path, None

    def error(self, problem: str, key: str | None = None) -> UserError:
        """Make a `UserError` that names the file and line in which `key`, or its nearest parent, was written."""
        place = self.location(key)
        if place[0] == COMMAND_LINE and key is not None:
            key = key.removeprefix("set.")  # as it was written there
        return UserError(problem, file=place[0], line=place[1], key=key)


def recipe_folders() -> list[Path]:
    """Return the folders of shipped recipes, those of the checkout or of the installed package."""
    package = Path(__file__).resolve().parents[1]
    folders = [package.parent / "experiments", package / "experiments"]
    return [folder for folder in folders if (folder / "presets").is_dir()]


def sweep_recipe_folders() -> list[Path]:
    """Return the folders of shipped sweeps, as `recipe_folders` does those of studies."""
    package = Path(__file__).resolve().parents[1]
    folders = [package.parent / "sweeps", package / "sweep_recipes"]
    return [folder for folder in folders if (folder / "quick.yaml").is_file()]


def find_study_file(name: str, folders: Sequence[Path] | None = None, *, stored: Iterable[str] = ()) -> Path:
    """Return the path of a study: a file, or a shipped recipe of that name.

    Args:
        name: as the user gives it.
        folders: where recipes lie, by default those of studies.
        stored: names of the store's studies, where these may be named too.

    Raises:
        UserError: there is no such file or recipe (the nearest names are offered), or there are both.

    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    folders = recipe_folders() if folders is None else folders
    here = path.with_name(f"{path.name}.yaml") if path.name else path
    for folder in folders:
        if (recipe := folder / f"{name}.yaml").is_file():
            if here.is_file() and not here.samefile(recipe):
                raise UserError(f"is a file here and a recipe: say {str(here)!r} or {str(recipe)!r}", file=name)
            return recipe
    if path.exists():
        return path  # a folder, which reading refuses
    known = [
        str(found.relative_to(folder).with_suffix(""))
        for folder in folders
        for found in folder.rglob("*.yaml")
        if "presets" not in found.parts
    ]
    if here.is_file():
        raise UserError(f"no such file, and no recipe of that name; did you mean {str(here)!r}?", file=name)
    if not (stored := sorted(stored)):
        raise UserError(f"no such file, and no recipe of that name; {nearest(name, known)}", file=name)
    hint = nearest(name, {*known, *stored})
    if hint.startswith("known"):
        hint = f"in the store: {', '.join(stored)}; recipes: {', '.join(sorted(known))}"
    raise UserError(f"no such file, no study of that name in the store, and no recipe; {hint}", file=name)


def compose(path: Path, overrides: Sequence[str] = ()) -> ComposedFile:
    """Read `path` and everything that it is based on, and apply `key=value` overrides.

    Raises:
        UserError: a file is missing or malformed, `base` is cyclic, an override has no `=`, or one holds a password.

    """
    composed = _compose(path, ())
    data, locations = composed.data, composed.locations
    for key, value in _names_first(map(parse_override, overrides)):
        nested = _nest_override(data, key, value)
        _spell_out_conditions(nested, {}, lambda problem, at: UserError(problem, file=COMMAND_LINE, key=at))
        _merge_in(data, locations, nested, (COMMAND_LINE, None), "")
    made = ComposedFile(path, data, locations)
    for key, what in find_credentials({name: below for name, below in data.items() if name != "storage"}):
        raise made.error(f"holds {what}: leave it out, the file is stored with the results (docs/security.md)", key)
    return made


def composed_text(path: Path) -> str:
    """Return a file with its bases merged in, as YAML: what it declares, whatever becomes of its bases.

    Raises:
        UserError: as `compose`.

    """
    return yaml.dump(compose(path).data)


def parse_override(text: str) -> tuple[str, Any]:
    """Split `key=value`; `study.KEY` is a key of the study, any other one of the runs' configuration (under `set`)."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", key.strip()):
        raise UserError(f"{text!r}: expected key=value, such as train.lr=1e-4", file=COMMAND_LINE)
    key = key.strip()
    if key.startswith("set."):
        bare = key.removeprefix("set.")
        raise UserError(f"settings go without `set`: write {bare}=…", file=COMMAND_LINE, key=key)
    if not value.strip().startswith(('"', "'", "[", "{")) and re.search(r"(^|\s)#", value):
        raise UserError(f"# begins a comment: quote the value, {key}='\"…\"'", file=COMMAND_LINE, key=key)
    try:
        given = yaml.scalar(value) if value.strip() else None
    except UserError as error:
        problem = error.problem.partition("; quote the value")[0]
        hint = f"; quote the value, {key}='\"…\"'" if problem.startswith("is not YAML") else ""
        raise UserError(f"{problem}{hint}", file=COMMAND_LINE, key=key) from None
    return key.removeprefix("study.") if key.startswith("study.") else f"set.{key}", given


def _names_first(overrides: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Put overrides that name a node in front of options of it that stand before them, as a new name wipes options.

    Beside a length of the training, another one that is cleared says nothing.

    Raises:
        UserError: two of them say how long to train.

    """
    given = list(overrides)
    lengths = sorted({key for key, value in given if key.startswith("set.train.length") and value is not None})
    if len(lengths) > 1:
        named = " and ".join(key.removeprefix("set.") for key in lengths)
        raise UserError(f"{named} exclude each other: give one", file=COMMAND_LINE)
    ordered: list[tuple[str, Any]] = []
    for key, value in given:
        if lengths and key.startswith("set.train.length.") and value is None and key not in lengths:
            continue
        place, node = len(ordered), _named_node(key, value)
        if node is not None:
            below = [at for at, (other, _) in enumerate(ordered) if other == node or other.startswith(f"{node}.")]
            naming = [at for at in below if _named_node(*ordered[at]) == node]
            place = next((at for at in below if at > max(naming, default=-1)), place)
        if isinstance(value, Mapping) and key == node and place < len(ordered):  # its options stay where they are
            for name in _name(node.removeprefix("set."), value):
                ordered.insert(place, (f"{node}.{name}", value[name]))
            place = len(ordered)
        ordered.insert(place, (key, value))
    return ordered


def _named_node(key: str, value: Any) -> str | None:
    """Return the node that an override of it, or of what is in it, names; None if it names none."""
    above, _, last = key.rpartition(".")
    if last in NAMED_BY.get(above.removeprefix("set."), ()):
        return above
    names = NAMED_BY.get(key.removeprefix("set."), ())
    named = any(name in value for name in names) if isinstance(value, Mapping) else "name" in names
    return key if named and isinstance(value, str | Mapping) else None


def _name(setting: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what names a node, and with what its options go; nothing where it has none."""
    return {key: node[key] for key in NAMED_BY.get(setting, ()) if key in node}


def _nest_override(data: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Nest an override into a file's data: a setting below `axes`, say, is one key, and what its axis holds another."""
    top, _, rest = key.partition(".")
    if key.startswith("init_from.match."):
        return {top: {"match": {rest.removeprefix("match."): value}}}
    if top not in BY_PATH or not rest:
        return nest(key, value)
    axes = {**_mapping(data, "over"), **_mapping(data, "axes")}
    if top == "baseline" and rest not in axes:
        zips = [name for name, held in axes.items() if isinstance(held, Mapping) and "zip" in held]
        if name := max((name for name in zips if rest.startswith(f"{name}.")), key=len, default=None):
            return {top: {name: {rest.removeprefix(f"{name}."): value}}}
    within = _WITHIN.fullmatch(rest) if top in ("axes", "over", "space") else None
    if within is None:
        return {top: {rest: value}}
    name, word, setting = within.groups()
    return {top: {name: {word: {setting: value} if setting else value}}}


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    return found if isinstance(found, Mapping) else {}


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings of configuration; `high` wins. Neither is changed."""
    result: dict[str, Any] = _deep_copy(low)
    _merge_in(result, {}, high, (Path(), None), "")
    return result


def _compose(path: Path, above: tuple[Path, ...]) -> ComposedFile:
    resolved = path.resolve()
    if resolved in above:
        chain = " → ".join(p.name for p in (*above[above.index(resolved) :], resolved))
        raise UserError(f"is based on itself: {chain}", file=path, key="base")
    document = yaml.read(path)
    _nest_dotted(document)
    _spell_out_conditions(document.data, document.lines, document.error)
    base = document.data.pop("base", None) or []
    names = [base] if isinstance(base, str) else base
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise document.error("expected a file name or a list of file names", "base")
    data: dict[str, Any] = {}
    locations: dict[str, Location] = {}
    for name in names:
        found = _find_base(name, document)
        part = _compose(found, (*above, resolved))
        for own in ("kind", "name", "why"):
            part.data.pop(own, None)
        _merge_in(data, locations, part.data, (found, None), "", part.locations)
    own_places = {key: (document.path, line) for key, line in document.lines.items()}
    _merge_in(data, locations, document.data, (path, None), "", own_places)
    return ComposedFile(path, data, locations)


def _nest_dotted(document: yaml.Document) -> None:
    """Write dotted keys within `set:` and its sections out as mappings: `train.lr: 1e-4` is `train: {lr: 1e-4}`."""
    settings = document.data.get("set")
    if not isinstance(settings, dict):
        return
    _nest_keys(document, settings, "set")
    for section in settings.keys() - {"init_from"}:
        if isinstance(settings[section], dict):
            _nest_keys(document, settings[section], f"set.{section}")


def _nest_keys(document: yaml.Document, settings: dict[str, Any], at: str) -> None:
    for key in [key for key in settings if re.fullmatch(r"\w+(\.\w+)+", key)]:
        value = settings.pop(key)
        inside, last = settings, key.rpartition(".")[2]
        for part in key.split(".")[:-1]:
            if isinstance(inside.get(part), str) and part in NAMED:
                inside[part] = {"name": inside[part]}
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict):
                raise document.error(f"{part} is given a value of its own: write one or the other", f"{at}.{key}")
        if last in inside:
            raise document.error("is given twice, dotted and within its section: keep one", f"{at}.{key}")
        inside[last] = value


def _spell_out_conditions(data: Mapping[str, Any], lines: dict[str, int], error: Callable[..., UserError]) -> None:
    """Write all conditions by path, so that each can be merged with, and overridden by, another one of its path."""
    for top in ("axes", "over", "space"):
        for name, word in ((name, word) for name in _mapping(data, top) for word in CONDITIONS):
            held, at = data[top][name], f"{top}.{name}.{word}"
            if not isinstance(held, Mapping) or not (given := _mapping(held, word)):
                continue
            try:
                data[top][name] = {**held, word: spell_out(given)}
            except UserError as problem:
                raise error(problem.problem, f"{at}.{problem.key}") from None
            for path in given.keys() & {key.removeprefix(f"{at}.") for key in lines}:
                lines.update({f"{at}.{new}": lines[f"{at}.{path}"] for new in spell_out({path: given[path]})})


def _find_base(name: str, document: yaml.Document) -> Path:
    file = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    folders = [document.path.parent, *recipe_folders()]
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    known = {
        str(found.relative_to(folder).with_suffix(""))
        for folder in folders
        for found in (*folder.glob("*.yaml"), *folder.glob("presets/*.yaml"))
    }
    looked = ", ".join(str(folder) for folder in folders)
    raise document.error(f"no file {file!r} in {looked}; {nearest(name, known)}", "base")


def _merge_in(
    low: dict[str, Any],
    locations: dict[str, Location],
    high: Mapping[str, Any],
    place: Location,
    prefix: str,
    high_places: Mapping[str, Location] | None = None,
) -> None:
    for key, value in high.items():
        dotted = f"{prefix}.{key}" if prefix else key
        setting = dotted.removeprefix("set.")
        here = (high_places or {}).get(dotted, locations.get(prefix, place))
        if setting in NAMED and isinstance(value, str) and dotted != setting:
            value = {"name": value}  # noqa: PLW2901 - the short form of a node
        old = low.get(key)
        if "name" in NAMED_BY.get(setting, ()) and isinstance(old, str) and isinstance(value, Mapping):
            old = low[key] = {"name": old}
        elif prefix in ("axes", "over") and isinstance(old, Mapping) and isinstance(value, list):
            value = {"values": value}  # noqa: PLW2901 - short for it: conditions stay
        if prefix in ("axes", "over", "space") and isinstance(value, Mapping):
            old = low[key] = _of_kind(old, value)
        if isinstance(old, dict) and isinstance(value, Mapping) and not _replaces(setting, old, value):
            locations[dotted] = here
            _merge_in(old, locations, value, place, dotted, high_places)
            continue
        for stale in [known for known in locations if known.startswith((f"{dotted}.", f"{dotted}["))]:
            del locations[stale]
        low[key] = _deep_copy(value)
        locations[dotted] = here
        if isinstance(value, Mapping):
            locations.update(dict.fromkeys((f"{dotted}.{below}" for below in flatten(value)), here))
        inner = (f"{dotted}.", f"{dotted}[")
        locations.update({known: where for known, where in (high_places or {}).items() if known.startswith(inner)})


def _of_kind(old: Any, new: Mapping[str, Any]) -> Any:
    """Return an axis or parameter without what the kind of another one replaces: its conditions stay."""
    held = {"values": old} if isinstance(old, list) else old
    if not isinstance(held, Mapping) or not any(word in KINDS and word not in held for word in new):
        return held
    return {word: value for word, value in held.items() if word not in OF_A_KIND}


def _replaces(setting: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if setting in WHOLE:
        return True
    if not (named := _name(setting, new)):
        return False
    unnamed = {"name": UNNAMED[setting]} if setting in UNNAMED else named
    return named != (_name(setting, old) or unnamed)


def nest(path: str, value: Any) -> dict[str, Any]:
    """Turn `a.b` and a value into `{a: {b: value}}`."""
    *above, last = path.split(".")
    result: dict[str, Any] = {last: value}
    for part in reversed(above):
        result = {part: result}
    return result


def flatten(tree: Mapping[str, Any], separator: str = ".") -> dict[str, Any]:
    """Flatten nested settings, joining keys by a separator.

    >>> flatten({"a": {"b": 1, "c": {}}, "d": [2]})
    {'a.b': 1, 'a.c': {}, 'd': [2]}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{key}{separator}{path}": each for path, each in flatten(value, separator).items()}
        else:
            flat[str(key)] = value
    return flat


def _deep_copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _deep_copy(item) for key, item in value.items()}
    return [_deep_copy(item) for item in value] if isinstance(value, list) else value
