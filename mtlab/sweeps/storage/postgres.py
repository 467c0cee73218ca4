"""A sweep's storage in PostgreSQL: one database for launchers on several machines.

One connection beside those of Optuna's storage holds advisory locks. They belong to the session: the server releases
them when the launcher ends or dies, and, thanks to the keep-alives set here, when its machine is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from mtlab.errors import UserError, first_line, missing_extra

if TYPE_CHECKING:
    import psycopg

PATIENCE = 5  #: seconds in which the server must answer
#: After 20 s of silence the server asks four times, every 5 s, whether the other machine is still there.
KEEPALIVE = "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4"
#: Optuna commits every attribute, parameter and report by itself: to wait for the disk each time would take most of a
#: trial's time beside training. `batch` waits once.
ASYNCHRONOUS, SYNCHRONOUS = "-c synchronous_commit=off", "-c synchronous_commit=on"
TABLES = "mtlab/optuna tables"  #: lock under which tables are created


class PostgresSweepStorage:
    """A sweep's part of a PostgreSQL database, see `SweepStorage`.

    Args:
        url: postgresql://USER@HOST/DATABASE.
        name: of the sweep.

    Raises:
        UserError: the driver is missing, or the server refuses the connection, or does not answer in time.

    """

    def __init__(self, url: str, name: str) -> None:
        if find_spec("psycopg") is None:
            raise missing_extra("psycopg", "postgres", key="storage")
        from optuna.exceptions import StorageInternalError
        from optuna.storages import RDBStorage
        from sqlalchemy.exc import SQLAlchemyError

        self.name = name
        self.url = url
        parts = urlsplit(url)
        self.connection = _connect(urlunsplit(parts._replace(scheme="postgresql")))
        try:
            with self._lock(TABLES):
                self.optuna_storage = RDBStorage(
                    urlunsplit(parts._replace(scheme="postgresql+psycopg")),
                    engine_kwargs={
                        "connect_args": {"connect_timeout": PATIENCE, "options": f"{KEEPALIVE} {ASYNCHRONOUS}"},
                        "pool_pre_ping": True,
                    },
                )
        except (SQLAlchemyError, StorageInternalError) as error:  # such as a role without rights
            self.connection.close()
            raise UserError(f"cannot keep a sweep: {first_line(_cause(error))}", file=redact(url)) from None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the sweep's advisory lock, see `SweepStorage.exclusive`."""
        with self._lock(f"sweep/{self.name}"), self.batch():
            yield

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Write a message and wait until it is on the disk, as earlier writes are by then: see `SweepStorage.batch`."""
        try:
            yield
        finally:
            if not self.connection.closed:
                self._query("SELECT pg_logical_emit_message(true, 'mtlab', '')")

    @contextmanager
    def register_launcher(self, token: str) -> Iterator[None]:
        """Hold an advisory lock, see `SweepStorage.register_launcher`."""
        with self._lock(f"launcher/{token}"):
            yield

    def launcher_is_gone(self, token: str) -> bool:
        """Try its advisory lock, see `SweepStorage.launcher_is_gone`."""
        key = _key(f"launcher/{token}")
        if not self._query("SELECT pg_try_advisory_lock(%s)", key):
            return False
        self._query("SELECT pg_advisory_unlock(%s)", key)
        return True

    def close(self) -> None:
        """Close all connections."""
        self.connection.close()
        self.optuna_storage.engine.dispose()

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        key = _key(name)
        self._query("SELECT pg_advisory_lock(%s)", key)
        try:
            yield
        finally:
            if not self.connection.closed:
                self._query("SELECT pg_advisory_unlock(%s)", key)

    def _query(self, statement: str, *values: int) -> Any:
        import psycopg

        try:
            row = self.connection.execute(statement.encode(), values).fetchone()
        except psycopg.OperationalError as error:
            message = f"the connection was lost ({first_line(error)}); the same command goes on once it is back"
            raise UserError(message, file=redact(self.url)) from None
        except psycopg.Error as error:  # of a server that only resembles PostgreSQL
            raise UserError(f"cannot keep a sweep: {first_line(error)}", file=redact(self.url)) from None
        return None if row is None else row[0]


def _connect(url: str) -> psycopg.Connection[Any]:
    import psycopg

    try:
        return psycopg.connect(url, autocommit=True, connect_timeout=PATIENCE, options=f"{KEEPALIVE} {SYNCHRONOUS}")
    except psycopg.Error as error:
        raise UserError(f"{redact(url)} cannot be reached: {first_line(error)}", key="storage") from None


def redact(url: str) -> str:
    """Return a URL without query and password."""
    parts = urlsplit(url)
    address = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    return f"postgresql://{parts.username + '@' if parts.username else ''}{address}{parts.path}"


def _cause(error: BaseException) -> BaseException:
    """Return what the driver raised: Optuna and SQLAlchemy say little of it in their first lines."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _key(name: str) -> int:
    """Derive the key of an advisory lock from a name: 63 bits."""
    return int.from_bytes(hashlib.blake2b(f"mtlab/{name}".encode(), digest_size=8).digest(), "big") >> 1
