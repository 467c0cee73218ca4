"""The interface of a pool, which executes runs on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from mtlab.launch.exit_status import ExitStatus


class Attempt(Protocol):
    """One attempt at a run."""

    @property
    def pending(self) -> bool:
        """Does it wait in the queue of a cluster?"""

    @property
    def details(self) -> Mapping[str, Any]:
        """What `launch.jsonl` records of it, such as its pid."""

    async def wait(self) -> ExitStatus:
        """Wait for its end."""

    def stop(self, *, force: bool = False) -> None:
        """Ask it to write a checkpoint and end, or kill it."""


class Pool(Protocol):
    """Executes attempts at runs; entered for as long as there are any."""

    at_once: int  #: runs at once, those in a queue included

    async def __aenter__(self) -> Pool: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def start(self, run: Path, config: Mapping[str, Any]) -> Attempt:
        """Start an attempt.

        Args:
            run: the run directory.
            config: the content of its `config.json`.

        """

    def adopt(self, run: Path) -> Attempt | None:
        """Take over the attempt at a run whose launcher is gone; None if there is none."""
