"""Executes runs on a Ray cluster: an actor for each, placed by Ray where the resources of a run are free.

Actors end with their launcher, and workers with their actors. Run directories lie where all nodes see them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtlab.errors import one_line
from mtlab.launch.exit_status import ExitStatus
from mtlab.launch.pool import Attempt
from mtlab.launch.ray.cluster import import_ray, run_options
from mtlab.launch.ray.node import RunActor
from mtlab.launch.workers import Command, thread_variables, threads_of, worker_command
from mtlab.processes import LAUNCHER

CALLS = 16  #: of one actor at once: it waits, and is asked to stop
RETRY = 1.0  #: seconds before a node that did not answer is asked again


class RayPool:
    """The Ray cluster that this process is connected to, see `mtlab.launch.ray.cluster.connect`.

    Args:
        at_once: runs at once, those included that wait for a place.
        cpus: CPU cores of a run; more if its threads need more.
        gpus: of a run that uses them.
        memory_gb: memory of a run, in GiB; None: nothing is reserved.
        command: the command line of a worker.
        processes: of a run, each with its threads.

    """

    def __init__(
        self,
        at_once: int,
        cpus: int = 1,
        gpus: int | None = None,
        memory_gb: float | None = None,
        command: Command = worker_command,
        processes: int = 1,
    ) -> None:
        self.at_once = at_once
        self.cpus = cpus
        self.gpus = gpus
        self.memory_gb = memory_gb
        self.command = command
        self.processes = processes

    async def __aenter__(self) -> RayPool:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def start(self, run: Path, config: Mapping[str, Any]) -> Attempt:
        """Ask Ray for a place for an attempt; see `Pool.start`."""
        threads = threads_of(config)
        on_cpu = config["config"]["train"].get("device") == "cpu"  # others of the study may use GPUs
        options = run_options(max(self.cpus, self.processes * threads), None if on_cpu else self.gpus, self.memory_gb)
        own = {name: value for name, value in os.environ.items() if name.startswith("MTLAB_") and name != LAUNCHER}
        actor = import_ray().remote(RunActor).options(**options, max_concurrency=CALLS).remote()
        return _Placed(actor, (list(self.command(run)), str(run), {**own, **thread_variables(threads)}))

    def adopt(self, run: Path) -> Attempt | None:  # noqa: ARG002 - the protocol's
        """Return None: workers end with their launcher."""
        return None


class _Placed:
    """An attempt in an actor."""

    def __init__(self, actor: Any, arguments: tuple[Any, ...]) -> None:
        self.actor = actor
        self.arguments = arguments
        self.pending = True
        self.details: Mapping[str, Any] = {}
        self._asked: set[bool] = set()  #: requests to stop that were passed on, by force or not

    async def wait(self) -> ExitStatus:
        """Wait for a place, start the worker there, and wait for its end."""
        errors = import_ray().exceptions
        try:
            self.details = await _result(self.actor.start, *self.arguments)
            self.pending = False
            return ExitStatus(await _result(self.actor.wait))
        except errors.RayTaskError as error:
            return ExitStatus(None, "input", one_line(error.cause))
        except errors.RayError as error:
            return ExitStatus(None, None, describe_loss(str(error), self.details))

    def stop(self, *, force: bool = False) -> None:
        """Pass a signal on to the worker; where it still waits for a place, give that up."""
        if force in self._asked:
            return
        self._asked.add(force)
        if self.pending:
            import_ray().kill(self.actor)
        else:
            self.actor.stop.remote(force)


async def _result(method: Any, *arguments: Any) -> Any:
    """Call a method of an actor, again where its node does not answer, and wait for the result.

    Raises:
        RayError: the actor is gone, or the method raised an error.

    """
    while True:
        try:
            return await asyncio.wrap_future(method.remote(*arguments).future())
        except import_ray().exceptions.ActorUnavailableError:  # until Ray knows whether it is gone
            await asyncio.sleep(RETRY)


def describe_loss(text: str, details: Mapping[str, Any]) -> str:
    """Describe in a line why an actor is gone, from Ray's many."""
    where = f"node {details['node']}: " if details else ""
    if "low on memory" in text:  # others only list memory among common causes
        return f"{where}Ray ended it for the memory of its node: say resources.memory_gb, or lower launcher.at_once"
    if "node has died" in text or "node was preempted" in text:
        return f"{where}its node failed"
    return f"{where}its Ray process was ended"
