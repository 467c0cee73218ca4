"""`mtlab sweep dashboard`: optuna-dashboard on the searches of a sweep."""

from __future__ import annotations

from contextlib import suppress

import typer

from mtlab.cli.options import THIS_MACHINE, HostOption, PortOption, StoredSweep, StoreOption
from mtlab.cli.stored import stored_sweep_name


def dashboard(
    file: StoredSweep,
    port: PortOption = None,
    host: HostOption = THIS_MACHINE,
    store: StoreOption = None,
) -> None:
    r"""Open optuna-dashboard on the searches, live: with the figures of each trial's runs, and links to the runs.

    Nothing leaves this machine. Needs `pip install 'mtlab\[dashboard]'`, for the figures also `'mtlab\[images]'` and a
    Chromium. Ctrl-C stops it.
    """
    from mtlab.dashboard.sweep.optuna_dashboard import serve
    from mtlab.runs.store import Store, store_root

    root = store_root(store)
    with suppress(KeyboardInterrupt):
        serve(root, stored_sweep_name(file, Store.open(root)), host, port, typer.echo)
    typer.echo("stopped")
