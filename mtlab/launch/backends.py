"""The key `launcher` of a study: its settings, and the pool that it names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mtlab.config.check import check_config
from mtlab.config.options import option
from mtlab.errors import UserError, nearest, place_errors
from mtlab.launch.extras import import_extra
from mtlab.launch.local.pool import LocalPool, default_workers, takes_gpu
from mtlab.launch.ray.cluster import AUTO, connect, list_nodes, refuse_impossible_run
from mtlab.launch.ray.pool import RayPool
from mtlab.launch.slurm.pool import SlurmPool
from mtlab.launch.slurm.queue import refuse_impossible_job
from mtlab.launch.workers import threads_of, worker_command

if TYPE_CHECKING:
    from mtlab.launch.pool import Pool
    from mtlab.studies.spec import Resources

AT_ONCE = 16  #: default number of jobs at once on a cluster

#: Options of sbatch that mtlab sets itself → the setting to use instead.
RESERVED_OPTIONS: Mapping[str, str] = {
    "partition": "launcher.partition",
    "account": "launcher.account",
    "time": "resources.hours",
    "mem": "resources.memory_gb",
    "cpus-per-task": "resources.cpus",
    "gpus-per-node": "resources.gpus",
    "gpus": "resources.gpus",
    "array": "launcher.array",
    **dict.fromkeys(("ntasks", "ntasks-per-node", "nodes", "output", "error", "open-mode", "job-name", "signal"), ""),
}


@dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """The machine that the launcher runs on: a process for each run, on a GPU of its own where runs take one."""

    name: str = option("local", "local", choices=("local",))
    at_once: int | None = option(None, "runs at once; by default one per train.threads cores or GPU", minimum=1)


@dataclass(frozen=True, kw_only=True)
class SlurmSettings:
    """A Slurm cluster: a job for each run, with what `resources` says."""

    name: str = option("slurm", "slurm", choices=("slurm",))
    partition: str | None = option(None, "partition, or several with commas; by default the cluster's own")
    account: str | None = option(None, "account that is charged")
    at_once: int = option(AT_ONCE, "jobs at once, those in the queue included", minimum=1)
    array: bool = option(False, "submit runs that become free at the same moment as one job array")
    setup: list[str] = option(list, "lines of shell that each job runs first, such as `module load cuda`")
    extra: dict[str, Any] = option(dict, "further options of sbatch, such as {qos: long, constraint: a100}")


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """A Ray cluster: each run where its `resources` are free, on any of the nodes."""

    name: str = option("ray", "ray", choices=("ray",))
    address: str = option(AUTO, "auto (RAY_ADDRESS, else this machine's cluster), HOST:PORT, or ray://HOST:PORT")
    at_once: int = option(AT_ONCE, "runs at once, those included that wait for a place", minimum=1)
    autoscaling: bool = option(False, "larger nodes join on demand: do not refuse what fits on none of today's")


Settings = LocalSettings | SlurmSettings | RaySettings
LAUNCHERS: Mapping[str, type[Settings]] = {"local": LocalSettings, "slurm": SlurmSettings, "ray": RaySettings}


def launcher_settings(given: Any, *, name: str | None = None) -> Settings:
    """Read the key `launcher`: a name, or a mapping with `name` and its options.

    Args:
        given: as the file says it.
        name: another launcher, from the command line; what the file says for that one holds.

    Raises:
        UserError: unknown name or option, with the nearest right one; the key is named.

    """
    node = {"name": given} if isinstance(given, str) else given
    if not isinstance(node, Mapping):
        raise UserError(f"expected {', '.join(LAUNCHERS)}, or a mapping with `name`; found {given!r}", key="launcher")
    for chosen in (node.get("name"), name):
        if chosen is not None and (not isinstance(chosen, str) or chosen not in LAUNCHERS):
            raise UserError(f"no launcher {chosen!r}; {nearest(str(chosen), LAUNCHERS)}", key="launcher")
    if node.get("name") is None:
        raise UserError(f"which launcher? Add `name: local`, or another of {', '.join(LAUNCHERS)}", key="launcher.name")
    settings = _checked(node)
    if name is None or name == settings.name:
        return settings
    return LAUNCHERS[name]()


def _checked(node: Mapping[str, Any]) -> Settings:
    with place_errors(key="launcher"):
        settings = check_config(LAUNCHERS[str(node["name"])], node)
    if isinstance(settings, SlurmSettings):
        for key, value in settings.extra.items():
            if value is not None and value is not True and (value is False or not isinstance(value, str | int | float)):
                problem = f"expected a text, a number, or true for an option without a value; found {value!r}"
                raise UserError(problem, key=f"launcher.extra.{key}")
            if key.replace("_", "-") in RESERVED_OPTIONS:
                instead = RESERVED_OPTIONS[key.replace("_", "-")]
                advice = f": say {instead}" if instead else ""
                raise UserError(f"mtlab sets this option itself{advice}", key=f"launcher.extra.{key}")
    return settings


def attempt_limit(settings: Settings, resources: Resources) -> float:
    """Return the seconds after which the launcher ends an attempt: infinite on Slurm, which does that itself."""
    return math.inf if isinstance(settings, SlurmSettings) else 3600 * (resources.hours or math.inf)


def make_pool(
    settings: Settings,
    resources: Resources,
    configs: Mapping[str, Mapping[str, Any]],
    *,
    at_once: int | None = None,
) -> Pool:
    """Make the pool that executes runs, and test whether a cluster would accept their jobs.

    Args:
        settings: which launcher, see `launcher_settings`.
        resources: what each run gets.
        configs: run id → content of its `config.json`, or of runs like those.
        at_once: runs at once, from the command line.

    Raises:
        UserError: the cluster or its package is missing, no run of this kind would ever start there, or it would have
            another number of GPUs than of processes; the key is named.

    """
    command = partial(worker_command, processes=resources.processes)
    if isinstance(settings, LocalSettings):
        gpus = _visible_gpus() if any(map(takes_gpu, configs.values())) else ()
        fitting = default_workers(configs, gpus, resources.processes)
        together = resources.processes
        return LocalPool(at_once or settings.at_once or fitting, gpus, command, together, forks=together == 1)
    devices = [config["config"]["train"].get("device") for config in configs.values()]
    resources = _request_gpus(settings, resources, devices)
    cpus = max([resources.cpus, *(resources.processes * threads_of(config) for config in configs.values())])
    if isinstance(settings, RaySettings):
        connect(settings.address)
        if not settings.autoscaling:
            refuse_impossible_run(list_nodes(), cpus, resources.gpus or 0, resources.memory_gb or 0)
        wanted = resources.cpus, resources.gpus, resources.memory_gb
        return RayPool(at_once or settings.at_once, *wanted, command, resources.processes)
    options = slurm_options(settings, resources)
    _check_job(settings, resources, {**options, "cpus_per_task": cpus})
    sizes = at_once or settings.at_once, options, resources.cpus
    return SlurmPool(*sizes, command, resources.processes, settings.array)


def slurm_options(settings: SlurmSettings, resources: Resources) -> dict[str, Any]:
    """Return sbatch's options for each job, GPUs for those alone that use one; what is not given is the cluster's."""
    return {
        "partition": settings.partition,
        "account": settings.account,
        "time": math.ceil(60 * resources.hours) if resources.hours else None,  # minutes
        "mem": f"{math.ceil(1024 * resources.memory_gb)}M" if resources.memory_gb else None,
        "gpus_per_node": resources.gpus or None,
        "setup": settings.setup or None,
        "extra": {key.replace("_", "-"): value for key, value in settings.extra.items() if value is not None},
    }


def _request_gpus(
    settings: SlurmSettings | RaySettings, resources: Resources, devices: Sequence[str | None]
) -> Resources:
    """Request a GPU for each process where any run is on `cuda`; those on `auto` use what they are given."""
    gpus, processes = resources.gpus, resources.processes
    extra = settings.extra if isinstance(settings, SlurmSettings) else {}
    elsewhere = any(key.startswith(("gres", "gpus", "tres")) for key in extra)
    named = any(str(device).startswith("cuda") for device in devices)
    if gpus is None and named and not elsewhere:
        return replace(resources, gpus=processes)
    if gpus and gpus != processes and (named or "auto" in devices):
        raise UserError(
            f"{gpus} for {processes} process{'es' if processes > 1 else ''}, each of which takes one: say {processes}, "
            f"or resources.processes: {gpus}",
            key="resources.gpus",
        )
    return resources


def _check_job(settings: SlurmSettings, resources: Resources, options: Mapping[str, Any]) -> None:
    import_extra("submitit", "slurm")
    given = {
        "launcher.partition": settings.partition,
        "launcher.account": settings.account,
        **{
            f"resources.{field.name}": value
            for field in fields(resources)
            if (value := getattr(resources, field.name)) not in (None, 0)
        },
    }
    refuse_impossible_job(options, {key: None if value is None else str(value) for key, value in given.items()})


def _visible_gpus() -> tuple[str, ...]:
    """Return the GPUs of this machine as `CUDA_VISIBLE_DEVICES` names them."""
    import os

    import torch

    count = torch.cuda.device_count()
    visible = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    return tuple(visible[:count] if visible else map(str, range(count)))
