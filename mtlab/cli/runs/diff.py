"""`mtlab diff`: the settings in which two runs or two variants differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mtlab.cli.options import JsonOption, StoreOption
from mtlab.cli.output import make_table, print_json
from mtlab.errors import UserError


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A run as in `mtlab logs`, or a variant: STUDY:VARIANT.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the settings in which two runs or two variants differ, defaults included. Each must have begun.

    Where they differ in none, what else has made their ids differ: content of weights and data, versions of classes.
    """
    from mtlab.report.provenance import differing_settings
    from mtlab.runs.store import store_root

    sides = {name: _settings(name, store_root(store)) for name in (a, b)}
    if not all("seed" in settings for settings, _ in sides.values()):  # of a variant, seeds are no setting
        for settings, _ in sides.values():
            settings.pop("seed", None)
    found = differing_settings({name: settings for name, (settings, _) in sides.items()})
    found = found or differing_settings({name: identity for name, (_, identity) in sides.items()})
    if as_json:
        print_json({key: {"a": values[a], "b": values[b]} for key, values in found.items()})
        return
    if not found:
        typer.echo("no setting differs")
        return
    from rich.console import Console
    from rich.text import Text

    table = make_table("setting", a, b)
    for key, values in found.items():
        table.add_row(Text(key), *(Text(values[name]) for name in (a, b)))
    Console(highlight=False).print(table)


def _settings(name: str, root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the flat settings of a run, with its seed (of a variant, without), and what else makes its id."""
    from mtlab.config.load import flatten
    from mtlab.runs.find_run import find_run_folders, read_config

    found = find_run_folders(name, root)
    if len({folder.parent for folder in found.values()}) > 1:
        raise UserError(f"{name!r} could be {len(found)} runs: name one, such as {', '.join(list(found)[:4])}")
    begun = [folder / "config.json" for folder in found.values() if (folder / "config.json").is_file()]
    if not begun:
        raise UserError(f"{name!r} has not begun: `mtlab plan FILE` shows in what its variants differ")
    content = read_config(begun[0].parent)
    seed = {"seed": content["seed"]} if len(found) == 1 else {}
    identity = {key: value for key, value in (content.get("identity") or {}).items() if key != "config"}
    return flatten(content["config"]) | seed, flatten(identity)
