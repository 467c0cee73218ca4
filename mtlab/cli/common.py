"""Arguments and small steps that several commands share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.runs.store import Store
    from mtlab.studies.plan import Plan

File = Annotated[
    str, typer.Argument(metavar="FILE", help="Study file, or the name of a shipped recipe such as quickstart.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Override settings: train.lr=1e-4, study.seeds=3.", show_default=False
    ),
]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of all runs.", envvar="MTLAB_STORE", show_default="./runs"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys (docs/json.md).")]
PluginsOption = Annotated[bool, typer.Option("--no-plugins", help="Refuse to import the modules under `plugins:`.")]
PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE|FILE",
        help="Import this first: a Python module, a file.py, or a study (its `plugins:`). May be repeated.",
        show_default=False,
    ),
]
AT_ONCE_HELP = "one per train.threads cores or GPU; of a cluster launcher.at_once"
LauncherOption = Annotated[
    str | None,
    typer.Option(
        "--launcher", metavar="local|slurm", help="Where runs are started.", show_default="the file's, else local"
    ),
]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Take over the name of a study from another file.")]

PortOption = Annotated[
    int | None,
    typer.Option("--port", min=1, max=65_535, help="Port to listen on.", show_default="8050, or the next free one"),
]
HostOption = Annotated[
    str, typer.Option("--host", help="Address to listen on. Others than this machine's own let everybody in.")
]
THIS_MACHINE = "127.0.0.1"  #: the host that lets nobody else in


def planned(
    path: Path, overrides: Sequence[str], store: Store, *, plugins: bool, plugin_folder: Path | None = None
) -> Plan:
    """Read, expand and price a study; its plug-ins lie beside it, or in `plugin_folder`."""
    from mtlab.config.plugins import import_plugins
    from mtlab.studies.cost_cache import CostCache
    from mtlab.studies.plan import make_plan
    from mtlab.studies.spec import read_study

    study = read_study(path, overrides)
    if plugin_folder is not None:
        study = replace(study, plugin_folder=plugin_folder)
    try:
        import_plugins(study.keys.plugins, study.plugin_folder, allowed=plugins)
    except UserError as error:
        raise study.error(error.problem, error.key) from error.__cause__
    costs = CostCache(store.root / "costs.json")
    plan = make_plan(study, costs)
    costs.save()
    return plan


def print_json(data: Any) -> None:
    """Print plain data as JSON."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def size(number: int) -> str:
    """Write a number of bytes as people read it."""
    from rich.filesize import decimal

    return decimal(number)
