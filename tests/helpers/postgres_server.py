"""A PostgreSQL server of one's own: in a temporary folder, on the loopback address, gone with the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


class Server:
    """A server that can be stopped, and started again with what it holds."""

    def __init__(self, folder: Path) -> None:
        found = programs()
        assert found is not None
        self.folder, self.programs = folder, found
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        _as_user(str(self.programs / "initdb"), "-D", str(folder / "data"), "-U", USER, "-A", "trust", "--no-sync")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        own = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        own += " -c wal_writer_delay=10s"  # what nobody waits for is lost with the server
        self._control("-o", own, "-l", str(self.folder / "log"), "start")

    def stop(self, how: str = "immediate") -> None:
        """Stop it: at once, as if its machine had died."""
        self._control("-m", how, "stop")

    def _control(self, *words: str) -> None:
        _as_user(str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), "-w", *words)


@contextmanager
def running() -> Iterator[Server]:
    """Run a server with an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="mtlab-postgres-"))
    try:
        made = Server(folder)
        made.start()
        try:
            yield made
        finally:
            with suppress(subprocess.CalledProcessError):  # a test may have stopped it
                made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
