"""The server of the pages: on the loopback address by default, on a free port, until Ctrl-C."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mtlab.errors import UserError, missing_extra
from mtlab.runs.shell_command import shell_command

if TYPE_CHECKING:
    from flask import Flask

PORT = 8050  #: tried first
TRIES = 50  #: ports tried in a row

#: Pages may load nothing from outside. Dash writes its settings and plotly its styles into the page.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)


def serve(root: Path, host: str, port: int | None, log: Callable[[str], None]) -> None:
    """Serve the dashboard of a store until it is interrupted.

    Args:
        root: the folder of the store.
        host: where to listen.
        port: which port; None: the first that is free from `PORT` on.
        log: prints a line for the user.

    Raises:
        UserError: no store, an address that is not this machine's, a port that is taken, or Dash is missing.

    """
    try:
        from mtlab.dashboard.app import make_app
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "dash":
            raise
        raise missing_extra("dash", "dashboard", of="the dashboard") from None
    from werkzeug.serving import make_server

    from mtlab.dashboard.dashboard_data import DashboardData

    data = DashboardData(root)
    bound = bind(host, port)
    try:
        app = protect(make_app(data).server, local=is_local(host))
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for each request
        server = make_server(host, bound.getsockname()[1], app, threaded=True, fd=bound.fileno())
        for line in greeting(data, host, server.port):
            log(line)
        server.serve_forever()
    finally:
        bound.close()
        data.close()


def greeting(data: Any, host: str, port: int) -> list[str]:
    """Return the lines that say where the pages are and who can see them."""
    address = f"{page_address(host, port)}/"
    studies = data.store.study_names()
    lines = [
        f"dashboard of {data.store.root} ({len(studies)} {'study' if len(studies) == 1 else 'studies'}): {address}"
    ]
    lines += host_warning(host, port, "read this store")
    if not studies:
        command = shell_command("run", "quickstart", store=data.store)
        lines.append(f"the store is empty: `{command}` makes a first study, which the page then shows")
    return [*lines, "Ctrl-C stops it"]


def page_address(host: str, port: int) -> str:
    """Return the address of a server without a path."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def host_warning(host: str, port: int, power: str) -> list[str]:
    """Return a line on what everybody can do who reaches a server; none if only this machine does."""
    if is_local(host):
        return []
    who = f"warning: everybody who reaches {host} on port {port} can {power}"
    return [f"{who}: there is no password (without --host, only this machine can)"]


def bind(host: str, port: int | None) -> socket.socket:
    """Bind a socket to a port and listen.

    Raises:
        UserError: the port is taken, not allowed, or the address is not this machine's.

    """
    if port is not None:
        return _bound(host, port, lambda: f"try --port {_free(host, port)}, or leave --port out to take a free one")
    for each in range(PORT, PORT + TRIES):
        try:
            return _listen(host, each)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise _bind_error(error, host, each, "") from None
    raise UserError(f"no port from {PORT} to {PORT + TRIES - 1} is free: choose one by --port", key="--port")


def is_local(host: str) -> bool:
    """Return whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_foreign(host: str, origin: str | None, *, local: bool) -> bool:
    """Return whether a request comes from a page of another site.

    Args:
        host: the header `Host`. By DNS rebinding a page of another site reads from this machine, under its own name.
        origin: the header `Origin`, which browsers send with requests that another site's page may make; None: none.
        local: does the server answer this machine alone, and so only to its local names?

    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        other = origin is not None and urlsplit(origin).netloc != host
    except ValueError:
        return True
    return other or (local and not is_local(name))


def protect(server: Flask, *, local: bool) -> Flask:
    """Protect a server: refuse what comes from pages of other sites, and forbid the browser requests to elsewhere."""
    from flask import abort, request

    @server.before_request
    def refuse_foreign_requests() -> None:
        if is_foreign(request.host, request.headers.get("Origin"), local=local):
            abort(403)

    @server.after_request
    def add_security_headers(response: Any) -> Any:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return server


def _bound(host: str, port: int, advice: Callable[[], str]) -> socket.socket:
    try:
        return _listen(host, port)
    except OSError as error:
        raise _bind_error(error, host, port, advice()) from None


def _bind_error(error: OSError, host: str, port: int, advice: str) -> UserError:
    if error.errno == errno.EADDRINUSE:
        return UserError(f"port {port} is in use: {advice}", key="--port")
    if error.errno == errno.EACCES:
        return UserError(f"port {port} needs more rights than you have: {advice}", key="--port")
    return UserError(f"{host!r} is no address of this machine ({error.strerror or error})", key="--host")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(64)
    except OSError:
        bound.close()
        raise
    return bound


def _free(host: str, port: int) -> int:
    """Return the next free port."""
    for each in range(port + 1, min(port + TRIES, 65_535) + 1):
        try:
            _listen(host, each).close()
        except OSError:
            continue
        return each
    return PORT
