"""Serves optuna-dashboard for a sweep's searches, and our pages of their runs under the same address."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlab.dashboard.dashboard_data import DashboardData
from mtlab.dashboard.server import bind, host_warning, is_foreign, is_local, page_address, protect
from mtlab.dashboard.sweep import trial_artifacts
from mtlab.dashboard.sweep.trial_artifacts import BATCH
from mtlab.errors import UserError, missing_extra, one_line
from mtlab.report.sweep_report import build_sweep_report
from mtlab.runs.store import Store
from mtlab.sweeps.stored import load_searches, open_sweep

if TYPE_CHECKING:
    from optuna.artifacts import FileSystemArtifactStore
    from optuna.storages import BaseStorage

    Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

EVERY = 10.0  #: seconds between searches for trials that have ended
#: Paths that optuna-dashboard answers; all others are our pages.
OPTUNA = ("/dashboard", "/api/", "/static/", "/artifacts/", "/csv/", "/favicon.ico")


def serve(root: Path, name: str, host: str, port: int | None, log: Callable[[str], None]) -> None:
    """Serve a sweep's dashboard until it is interrupted.

    Args:
        root: folder of the store.
        name: of the sweep.
        host: where to listen.
        port: which port; None: the first that is free.
        log: prints a line for the user.

    Raises:
        UserError: a package is missing, the storage cannot be reached, or a port is taken.

    """
    try:
        from optuna.artifacts import FileSystemArtifactStore
        from optuna_dashboard import wsgi
        from werkzeug.serving import make_server

        from mtlab.dashboard.app import make_app
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("optuna_dashboard", "dash", "werkzeug", "bottle"):
            raise
        raise missing_extra("optuna-dashboard", "dashboard", of="the dashboard of sweeps") from None
    store = Store.open(root)
    plan = store.plan(name)
    folder = trial_artifacts.artifact_folder(store, plan)
    folder.mkdir(parents=True, exist_ok=True)
    with open_sweep(store, plan) as (storage, _):
        bound, data, over = bind(host, port), DashboardData(root), threading.Event()
        try:
            artifacts = FileSystemArtifactStore(str(folder))
            ours = protect(make_app(data).server, local=is_local(host))
            add_page(ours, store, name)
            app = combine(wsgi(storage.optuna_storage, artifact_store=artifacts), ours, local=is_local(host))
            logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for each request
            server = make_server(host, bound.getsockname()[1], app, threaded=True, fd=bound.fileno())
            keeper = threading.Thread(
                target=attach_figures_until,
                args=(store, name, storage, artifacts, over, log),
                daemon=True,
                name="figures",
            )
            keeper.start()
            address = page_address(host, server.port)
            log(f"searches of {name}: {address}/dashboard")
            log(f"its page: {address}/sweep · runs, studies: {address}/study/{name}")
            for line in host_warning(host, server.port, "read this store, and change and delete its searches"):
                log(line)
            log("Ctrl-C stops it")
            server.serve_forever()
        finally:
            over.set()
            bound.close()
            data.close()


def combine(searches: Application, ours: Any, *, local: bool) -> Application:
    """Combine optuna-dashboard, which writes to the storage, and our pages into one application.

    Requests of other sites' pages are refused, see `is_foreign`, and none may show these in a frame.
    """

    def framed_nowhere(start: Callable[..., Any]) -> Callable[..., Any]:
        return lambda status, headers, *rest: start(status, [*headers, ("X-Frame-Options", "DENY")], *rest)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if is_foreign(str(environ.get("HTTP_HOST", "")), environ.get("HTTP_ORIGIN"), local=local):
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"This address belongs to another name.\n"]
        if path == "/":
            start("302 Found", [("Location", "/dashboard")])
            return [b""]
        return searches(environ, framed_nowhere(start)) if path.startswith(OPTUNA) else ours(environ, start)

    return answer


def add_page(server: Any, store: Store, name: str) -> None:
    """Add the sweep's own page, which is drawn for each request."""
    from mtlab.report.page.sweep_page import sweep_page

    def page() -> str:
        plan = store.plan(name)
        with open_sweep(store, plan) as (_, searches):
            return sweep_page(store, searches, build_sweep_report(store, plan, searches))

    server.add_url_rule("/sweep", "sweep", page)


def attach_figures_until(
    store: Store,
    name: str,
    storage: Any,
    artifacts: FileSystemArtifactStore,
    over: threading.Event,
    log: Callable[[str], None],
) -> None:
    """Attach figures to trials as they end, until `over` is set; if they cannot be drawn, log it and stop."""
    while not over.is_set():
        try:
            attach_pending(store, store.plan(name), storage, artifacts, over)
        except Exception as error:  # a browser may fail in many ways
            why = str(error) if isinstance(error, UserError) else one_line(error, 120, kind=True)
            log(f"no figures at the trials: {why}")
            return
        over.wait(EVERY)


def attach_pending(
    store: Store,
    plan: Mapping[str, Any],
    storage: Any,
    artifacts: FileSystemArtifactStore,
    over: threading.Event,
) -> int:
    """Attach figures to all trials that have ended, in batches; return the number of trials."""
    optuna_storage: BaseStorage = storage.optuna_storage
    waiting = list(trial_artifacts.pending_trials(optuna_storage, plan, load_searches(storage, plan)))
    for start in range(0, len(waiting), BATCH):
        if over.is_set():
            return start
        trial_artifacts.attach_artifacts(store, optuna_storage, artifacts, waiting[start : start + BATCH])
    return len(waiting)
