"""`mtlab list`: what can be named in the YAML, with docs, options and defaults."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mtlab.cli.options import JsonOption, PluginOption
from mtlab.cli.output import make_table, print_json
from mtlab.resolution.catalog import KINDS, Kind, catalogue


def list_entries(
    kind: Annotated[Kind | None, typer.Argument(help="What to list.", show_default=False)] = None,
    name: Annotated[str | None, typer.Argument(help="Show this one with its options.", show_default=False)] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what a study can name: managers, towers, tasks, data sets, presets; with a NAME, its options.

    Installed plug-ins are found by themselves; --plugin shows what a module of yours, or a study's, adds.
    """
    if plugin:
        from mtlab.config.plugins import import_named_plugins

        import_named_plugins(plugin)
    kinds = KINDS if kind is None else (kind,)
    found = {each: catalogue(each, name) for each in kinds}
    if as_json:
        print_json(found if kind is None else found[kind])
        return
    for each, entries in found.items():
        _print(each, entries, detailed=name is not None)
    if name is None:
        again = "".join(f" --plugin {given}" for given in plugin or [])
        typer.echo(f"\nMore on one of them: mtlab list {kind or 'managers'} NAME{again}")


def _print(kind: str, entries: list[dict[str, Any]], *, detailed: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    if detailed:
        for entry in entries:
            _print_one(console, entry)
        return
    table = make_table("name", *(["key"] if kind == "towers" else []), "what it is", title=kind)
    table.columns[0].no_wrap = True
    foreign = kind != "presets" and any(_foreign(entry) for entry in entries)
    if foreign:
        table.add_column("plug-in", style="magenta")
    for entry in entries:
        key = [entry["key"]] if kind == "towers" else []
        table.add_row(entry["name"], *key, entry["summary"], *([_foreign(entry)] if foreign else []))
    console.print(table)


def _foreign(entry: dict[str, Any]) -> str:
    """Name the module that an entry comes from, if it is not ours."""
    origin = str(entry["origin"])
    return "" if origin.partition(".")[0] == "mtlab" else origin


def _print_one(console: Any, entry: dict[str, Any]) -> None:
    from rich.markup import escape

    version = f" · version {entry['version']}" if "version" in entry else ""
    console.print(f"[bold cyan]{entry['name']}[/] · {entry['kind']}{version} · {entry['origin']}\n")
    console.print(escape(entry["docs"]) + "\n")
    if not entry.get("options"):
        return
    table = make_table("option", "default", "type", "what it does")
    for option in entry["options"]:
        allowed = " | ".join(map(str, option["choices"])) if "choices" in option else option["type"]
        default = json.dumps(option["default"], ensure_ascii=False)
        table.add_row(option["name"], default, allowed, option["help"])
    console.print(table)
