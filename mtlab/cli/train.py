"""`mtlab train`: the worker, one process for one run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mtlab.cli.options import PluginsOption


def train(
    run_dir: Annotated[Path, typer.Argument(help="A run's folder: STORE/cells/CELL/sSEED, as `mtlab run` made it.")],
    processes: Annotated[int, typer.Option(min=1, help="Processes of this host that train it together.")] = 1,
    no_plugins: PluginsOption = False,
) -> None:
    """Train one run to its end, or resume it. `mtlab run` starts this once per run; a finished run is left alone.

    Under `torchrun` several processes train one run together; `--processes` starts them by itself.
    """
    if processes > 1:
        from mtlab.distributed.torchrun import launch_processes

        raise typer.Exit(launch_processes(run_dir, processes, plugins=not no_plugins))
    from mtlab.processes import end_process
    from mtlab.training.worker import train as work

    code = work(run_dir, plugins=not no_plugins)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        end_process(code)  # such a process was aborted while torch was torn down, its work done
    raise typer.Exit(code)


def fork_workers(channel: Annotated[int, typer.Argument(help="File descriptor of a socket to the launcher.")]) -> None:
    """Import what every run needs, and fork a worker for each run that the launcher names."""
    import gc
    import socket

    import torch._dynamo  # noqa: F401 - every optimiser imports it, for as long as torch takes itself

    import mtlab.training.worker  # noqa: F401 - polars, which starts threads, is imported by workers
    from mtlab.launch.local.fork_server import serve

    gc.collect()
    gc.freeze()  # no collection in a worker looks at, and so copies, what all share
    run = serve(socket.socket(fileno=channel))
    if run is not None:
        train(run)
