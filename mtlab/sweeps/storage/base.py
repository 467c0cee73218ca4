"""Where the searches of a sweep are stored, and how several launchers coordinate there.

There are two kinds: a journal, a file in the sweep's folder of the store, for launchers that share a file system; and a
PostgreSQL database, for launchers on several machines. Both hold Optuna's storage and two kinds of locks, of the kernel
or of the database server, which are released when a launcher dies: no clocks are compared.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mtlab.sweeps.spec import JOURNAL
from mtlab.sweeps.storage.postgres import PostgresSweepStorage

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


class SweepStorage(Protocol):
    """A sweep's storage."""

    @property
    def optuna_storage(self) -> BaseStorage:
        """Optuna's storage."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold the sweep's lock, against all other launchers, and write in a `batch`."""

    def batch(self) -> AbstractContextManager[None]:
        """Sync to the disk once, at the end, all that was written within the context and before it.

        What is written elsewhere may be lost if the machine or the server dies: only reports, which are made again.
        """

    def register_launcher(self, token: str) -> AbstractContextManager[None]:
        """Register this launcher under a token for as long as the context, or the process, lasts."""

    def launcher_is_gone(self, token: str) -> bool:
        """Has the launcher of this token ended or died?"""

    def close(self) -> None:
        """Close files and connections."""


def open_storage(storage: str, name: str, folder: Path, *, create: bool = True) -> SweepStorage:
    """Open the storage of a sweep.

    Args:
        storage: the key `storage` of the sweep's file.
        name: the sweep's name.
        folder: the sweep's folder in the store.
        create: create it where it is missing.

    Raises:
        UserError: it cannot be reached or written, is missing, or needs a package that is missing.

    """
    if storage == JOURNAL:
        from mtlab.sweeps.storage.journal import JournalSweepStorage

        return JournalSweepStorage(folder, create=create)
    return PostgresSweepStorage(storage, name)
