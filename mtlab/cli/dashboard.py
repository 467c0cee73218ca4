"""`mtlab dashboard`: the whole store in the browser."""

from __future__ import annotations

from contextlib import suppress

import typer

from mtlab.cli.options import THIS_MACHINE, HostOption, PortOption, StoreOption


def dashboard(
    store: StoreOption = None,
    port: PortOption = None,
    host: HostOption = THIS_MACHINE,
) -> None:
    r"""Show the store in the browser, live while studies run: studies, one study, one run, single words and patches.

    The address of a page holds all that is chosen on it: send it, or keep it. Nothing leaves this machine, and nothing
    is written. Needs `pip install 'mtlab\[dashboard]'`. Ctrl-C stops it.
    """
    from mtlab.dashboard.server import serve
    from mtlab.runs.store import store_root

    with suppress(KeyboardInterrupt):
        serve(store_root(store), host, port, typer.echo)
    typer.echo("stopped")
