"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.launch.policy import LaunchPolicy

File = Annotated[
    str, typer.Argument(metavar="FILE", help="Study file, or the name of a shipped recipe such as quickstart.")
]
SweepFile = Annotated[
    str, typer.Argument(metavar="FILE", help="Sweep file, or the name of a shipped recipe such as quick.")
]
StoredStudy = Annotated[
    str, typer.Argument(metavar="FILE", help="Study file, recipe, or name of a study in the store.")
]
StoredSweep = Annotated[
    str, typer.Argument(metavar="FILE", help="Sweep file, shipped recipe, or the name of a sweep in the store.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Override settings: train.lr=1e-4, study.seeds=3.", show_default=False
    ),
]
AnyRun = Annotated[
    str, typer.Argument(metavar="RUN", help="STUDY:VARIANT:SEED, CELL/sSEED, or a run's folder, in any state.")
]
StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="Folder of all runs; to read, also a zip file of `mtlab bundle`.",
        envvar="MTLAB_STORE",
        show_default="./runs",
    ),
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
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "-w",
        min=1,
        help="Runs at once.",
        show_default="one per train.threads cores or GPU; of a cluster launcher.at_once",
    ),
]
RetriesOption = Annotated[int, typer.Option(min=0, help="Further attempts at a run whose worker was killed.")]
LauncherOption = Annotated[
    str | None,
    typer.Option(
        "--launcher", metavar="local|slurm|ray", help="Where runs are started.", show_default="the file's, else local"
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but failures.")]
DetachOption = Annotated[
    bool,
    typer.Option("--detach", "-d", help="Go on in the background, without this terminal; `mtlab cancel` stops it."),
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


def make_policy(retries: int, *, fail_fast: bool, keep_going: bool) -> LaunchPolicy:
    """Return what the options of a launch say on failures.

    Raises:
        UserError: they contradict each other.

    """
    from mtlab.launch.policy import LaunchPolicy

    if fail_fast and keep_going:
        raise UserError("--fail-fast and --keep-going contradict each other: give one", file="command line")
    return LaunchPolicy(retries=retries, fail_fast=fail_fast, keep_going=keep_going)


@contextmanager
def blame_option(option: str, key: str) -> Iterator[None]:
    """Report errors in the setting `key` as errors in the command line's `option`."""
    try:
        yield
    except UserError as error:
        if error.key != key:
            raise
        raise UserError(error.problem, file="command line", key=option) from None
