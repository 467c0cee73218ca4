"""Where the searches of a sweep are kept, and how launchers keep out of each other's way there.

Two kinds: a journal, a file in the sweep's folder of the store, for launchers that share a file system; and a
PostgreSQL database, for launchers on several machines. Both give Optuna's storage; a way to have what belongs together
on the disk; a section in which one launcher is alone; and a way to tell whether another launcher still lives. The last
two are locks of the kernel or of the database server, which let go of a launcher's locks when it dies: no clocks are
compared.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mtlab.sweeps.spec import JOURNAL

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


class SweepStorage(Protocol):
    """A sweep's storage."""

    @property
    def optuna_storage(self) -> BaseStorage:
        """Optuna's storage."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep all other launchers of this sweep out for a moment, `batch`."""

    def batch(self) -> AbstractContextManager[None]:
        """Bring to the disk, at the end and at once, what is written within and was written before.

        What is written elsewhere may be lost if the machine or the server dies: reports, which are made again.
        """

    def register_launcher(self, token: str) -> AbstractContextManager[None]:
        """Be present under a name of one's own for as long as the context lasts, or the process."""

    def launcher_is_gone(self, token: str) -> bool:
        """Is the launcher of this name gone?"""

    def close(self) -> None:
        """Let go of files and connections."""


def open_storage(storage: str, name: str, folder: Path, *, create: bool = True) -> SweepStorage:
    """Open the storage of a sweep.

    Args:
        storage: as the sweep's file names it.
        name: of the sweep.
        folder: of the sweep, in the store.
        create: make it where it is missing.

    Raises:
        UserError: it cannot be reached or written, is missing, or needs a package that is missing.

    """
    if storage == JOURNAL:
        from mtlab.sweeps.storage.journal import JournalSweepStorage

        return JournalSweepStorage(folder, create=create)
    from mtlab.sweeps.storage.postgres import PostgresSweepStorage

    return PostgresSweepStorage(storage, name)
