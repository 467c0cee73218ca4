"""`mtlab train`: the worker, one process for one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtlab.cli.common import PluginsOption


def train(
    run_dir: Annotated[Path, typer.Argument(help="A run's folder: STORE/cells/CELL/sSEED, as `mtlab run` made it.")],
    no_plugins: PluginsOption = False,
) -> None:
    """Train one run to its end, or resume it. `mtlab run` starts this once per run; a finished run is left alone."""
    from mtlab.training.worker import train as work

    raise typer.Exit(work(run_dir, plugins=not no_plugins))
