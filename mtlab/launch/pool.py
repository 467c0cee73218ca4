"""Where runs are worked on: what the launcher asks of a machine or a cluster, and nothing of how it is done there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from mtlab.launch.exit_status import ExitStatus


class Attempt(Protocol):
    """One attempt at a run."""

    @property
    def pending(self) -> bool:
        """Does it still wait for a place, its worker not yet running?"""

    @property
    def details(self) -> Mapping[str, Any]:
        """What `launch.jsonl` should say of it, such as its pid."""

    async def wait(self) -> ExitStatus:
        """Wait for its end."""

    def stop(self, *, force: bool = False) -> None:
        """Ask it to keep its state and end, or end it at once."""


class Pool(Protocol):
    """A place where attempts at runs are made; entered for as long as there are any."""

    at_once: int  #: runs at once, those that wait for a place included

    async def __aenter__(self) -> Pool: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def start(self, run: Path, config: Mapping[str, Any]) -> Attempt:
        """Begin an attempt.

        Args:
            run: the run directory.
            config: the content of its `config.json`.

        """

    def adopt(self, run: Path) -> Attempt | None:
        """Take over the attempt at a run that a launcher left which is gone by now; None if there is none."""
