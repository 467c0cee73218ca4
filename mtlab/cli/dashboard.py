"""`mtlab dashboard`: the whole store in the browser."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from mtlab.cli.common import StoreOption


def dashboard(
    store: StoreOption = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65_535, help="Port to listen on.", show_default="8050, or the next free one"),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on. Others than this machine's own let everybody in.")
    ] = "127.0.0.1",
) -> None:
    r"""Show the store in the browser, live while studies run: studies, one study, one run, single words and patches.

    The address of a page holds all that is chosen on it: send it, or keep it. Nothing leaves this machine, and nothing
    is written. Needs `pip install 'mtlab\[dashboard]'`. Ctrl-C stops it.
    """
    from mtlab.analysis.dashboard.serve import serve
    from mtlab.studies.store import store_root

    with suppress(KeyboardInterrupt):
        serve(store_root(store), host, port, typer.echo)
    typer.echo("stopped")
