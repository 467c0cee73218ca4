"""A PostgreSQL server of one's own: in a temporary folder, on the loopback address, gone with the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "postgres"


def programs() -> Path | None:
    """Find the folder of `initdb` and `pg_ctl`; None where no server is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _as_user(*command: str) -> None:
    """Run a program as the server's user: it refuses to run as root."""
    root = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    subprocess.run([*root, *command], check=True, capture_output=True, text=True, cwd="/")


@contextmanager
def running() -> Iterator[str]:
    """Run a server; yields the URL of an empty database."""
    folder, bin_ = Path(tempfile.mkdtemp(prefix="mtlab-postgres-")), programs()
    assert bin_ is not None
    if os.geteuid() == 0:
        shutil.chown(folder, USER)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    try:
        _as_user(str(bin_ / "initdb"), "-D", str(data), "-U", USER, "-A", "trust", "--no-sync")
        _as_user(str(bin_ / "pg_ctl"), "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        finally:
            _as_user(str(bin_ / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
