"""Importing the plug-ins that a study or a command names, so that they can register managers, towers, tasks, data sets.

Installed packages need not be named: the registries find them by their entry points.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path, PurePath
from types import ModuleType

from mtlab.config.load import compose
from mtlab.config.registry import PluginFailure, source_digest
from mtlab.errors import UserError, nearest

REFUSED = "--no-plugins"  #: the option that allows no plug-in


@dataclass(frozen=True)
class PluginModule:
    """A plug-in that a command line names."""

    module: str
    folder: Path  #: where it is searched for, beside installed packages


def import_plugins(modules: Sequence[str], folder: Path, *, allowed: bool = True, missing: str = "") -> None:
    """Import the modules that a study names; they may lie beside its file.

    Each is named on stderr before it is imported, as importing runs its code.

    Args:
        modules: their names.
        folder: of the study's file.
        allowed: may they be imported?
        missing: what to do where there is no such module, for the message.

    Raises:
        UserError: plug-ins are not allowed, or one cannot be imported.

    """
    if not modules:
        return
    if not allowed:
        raise UserError(f"asks for plug-ins ({', '.join(modules)}), which {REFUSED} refuses", key="plugins")
    for index, module in enumerate(modules):
        if module.endswith(".py") or "/" in module or not all(module.split(".")):
            hint = f", such as {name}" if (name := PurePath(module).stem.strip(".")) else ""
            raise UserError(f"{module!r} is no module: write the name to import{hint}", key=f"plugins[{index}]")
        failure = try_import(PluginModule(module, folder))
        if failure is not None:
            problem = f"plug-in {module} cannot be imported: {failure.error}{missing if failure.missing else ''}"
            raise UserError(problem, key=f"plugins[{index}]")


def try_import(plugin: PluginModule) -> PluginFailure | None:
    """Import a plug-in, once after naming it on stderr; return what went wrong, or None."""
    if str(plugin.folder) not in sys.path:
        sys.path.append(str(plugin.folder))
    if plugin.module not in sys.modules:
        print(f"importing plug-in {plugin.module}", file=sys.stderr)
    try:
        importlib.invalidate_caches()  # the file may be younger than this process
        module = importlib.import_module(plugin.module)
        _refuse_namesake(plugin, module)
        _note_if_edited(module)
    except (Exception, SystemExit) as error:  # a plug-in may raise anything
        missing = isinstance(error, ModuleNotFoundError) and error.name == plugin.module.partition(".")[0]
        failure = PluginFailure.of(plugin.module, error)
        return PluginFailure(plugin.module, _missing(plugin), failure.trace, missing=True) if missing else failure
    return None


def parse_plugin_names(names: Sequence[str]) -> list[PluginModule]:
    """Parse what a user names as plug-ins: modules, Python files, or studies, whose `plugins:` are meant.

    Raises:
        UserError: a file that is not there, or cannot be read.

    """
    found: list[PluginModule] = []
    for name in names:
        path = Path(name)
        if path.suffix in (".yaml", ".yml"):
            listed = compose(path).data.get("plugins", [])
            if not isinstance(listed, list) or not all(isinstance(module, str) for module in listed):
                raise UserError(f"expected a list of modules, found {listed!r}", file=path, key="plugins")
            found += [PluginModule(module, path.resolve().parent) for module in listed]
        elif path.suffix == ".py":
            if not path.is_file():
                raise UserError("no such plug-in file", file=path)
            found.append(PluginModule(path.stem, path.resolve().parent))
        else:
            found.append(PluginModule(name, Path.cwd()))
    return found


def import_named_plugins(names: Sequence[str]) -> list[str]:
    """Import the plug-ins of a command line; return the modules.

    Raises:
        UserError: one of them cannot be found or imported.

    """
    named = parse_plugin_names(names)
    for plugin in named:
        if (failure := try_import(plugin)) is not None:
            raise UserError(f"plug-in {plugin.module} cannot be imported: {failure.error}", file="command line")
    return [plugin.module for plugin in named]


def _refuse_namesake(plugin: PluginModule, module: ModuleType) -> None:
    """Refuse a plug-in that Python does not import, as it finds another module of the same name first."""
    stem = plugin.folder / plugin.module.replace(".", "/")
    file = stem.with_name(f"{stem.name}.py")
    beside = package if (package := stem / "__init__.py").is_file() else file
    found = getattr(module, "__file__", None)
    if beside.is_file() and (found is None or Path(found).resolve() != beside.resolve()):
        name = stem.name if beside == package else file.name
        raise UserError(f"the name belongs to another module ({found or 'of Python itself'}): rename {name}")


_imported: dict[str, tuple[ModuleSpec | None, str]] = {}  #: plug-in → how it was imported, digest of its file then


def _note_if_edited(module: ModuleType) -> None:
    """Say that a plug-in's file has changed since this process imported it: Python goes on with what it was."""
    source = source_digest(module)
    if source is None:
        return
    spec, before = _imported.get(module.__name__, (None, source))
    if spec is not module.__spec__:  # first imported, or reloaded
        _imported[module.__name__] = module.__spec__, source
    elif before != source:
        note = "runs use it as it is now, this process as it was: `importlib.reload` it, or restart Python"
        print(f"note: {module.__file__} has changed since it was imported: {note}", file=sys.stderr)


def _missing(plugin: PluginModule) -> str:
    beside = [path.stem for path in plugin.folder.glob("*.py")]
    hint = f"; {nearest(plugin.module, beside)}" if beside else ""
    return f"no module of this name is installed or lies in {plugin.folder}{hint}"
