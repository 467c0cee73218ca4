"""A Ray cluster: connect to it, list its nodes, refuse what none of them could run."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from mtlab.errors import UserError, first_line
from mtlab.launch.extras import import_extra

AUTO = "auto"  #: address: `RAY_ADDRESS`, else the cluster that this machine belongs to
PROBE = 10.0  #: seconds in which a cluster's port must answer
GIB = 2**30


@dataclass(frozen=True)
class Node:
    """A node, and what Ray gives to runs of it."""

    host: str
    cpus: float
    gpus: float
    memory_gib: float

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        return f"{self.cpus:g} CPUs{gpus}, {self.memory_gib:.1f} GiB"


def import_ray() -> Any:
    """Import ray.

    Raises:
        UserError: it is not installed.

    """
    return import_extra("ray", "ray")


def connect(address: str) -> None:
    """Connect this process to a cluster, once; none is started.

    Args:
        address: `auto`, `ray://HOST:PORT`, or HOST:PORT.

    Raises:
        UserError: ray is not installed, or no cluster answers there.

    """
    ray = import_ray()
    if ray.is_initialized():
        return
    wanted = (os.environ.get("RAY_ADDRESS") or AUTO) if address == AUTO else address
    try:
        if wanted == AUTO:  # may be that of a cluster which is gone
            wanted = ray._private.services.canonicalize_bootstrap_address_or_die(AUTO)
        _probe(wanted)
        ray.init(wanted, log_to_driver=False, logging_level="ERROR")
        ray._private.worker._worker_logs_enabled = False  # else the last lines of a lost node's log are printed
    except Exception as error:  # of many kinds, Ray's own and others
        what = "no Ray cluster runs on this machine"
        if wanted != AUTO:
            what = f"no Ray cluster at {wanted}: {first_line(error)}"
        raise UserError(
            f"{what} (`ray start --head` starts one; launcher.address or RAY_ADDRESS says where it is)",
            key="launcher.address",
        ) from error


def _probe(address: str) -> None:
    """Open a connection to an address: Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("expected auto, ray://HOST:PORT, or HOST:PORT")
    socket.create_connection((host, int(port)), timeout=PROBE).close()


def list_nodes() -> list[Node]:
    """Return the nodes of the cluster that this process is connected to."""
    found = []
    for node in import_ray().nodes():
        if node["Alive"]:
            has = node["Resources"]
            sizes = has.get("CPU", 0.0), has.get("GPU", 0.0), has.get("memory", 0.0) / GIB
            found.append(Node(node["NodeManagerHostname"], *sizes))
    return found


def refuse_impossible_run(nodes: Sequence[Node], cpus: int, gpus: int, memory_gb: float) -> None:
    """Refuse runs that fit on no node.

    Args:
        nodes: of the cluster.
        cpus: of a run.
        gpus: of a run.
        memory_gb: of a run, in GiB.

    Raises:
        UserError: no node has as much; the key is named.

    """
    if any(node.cpus >= cpus and node.gpus >= gpus and node.memory_gib >= memory_gb for node in nodes):
        return
    lacking = {
        "resources.cpus": all(node.cpus < cpus for node in nodes),
        "resources.gpus": all(node.gpus < gpus for node in nodes),
        "resources.memory_gb": all(node.memory_gib < memory_gb for node in nodes),
    }
    wanted = str(Node("", cpus, gpus, memory_gb)) if memory_gb else str(Node("", cpus, gpus, 0)).rpartition(", ")[0]
    raise UserError(
        f"no node of the Ray cluster has {wanted}, as a run asks for; nodes: "
        f"{'; '.join(dict.fromkeys(map(str, nodes)))}. If larger ones join on demand, say launcher.autoscaling: true",
        key=next((key for key, too_much in lacking.items() if too_much), "resources"),
    )


def describe_ray() -> dict[str, Any]:
    """Describe the cluster of this machine: `version`, `nodes`, and `problem` if none answers."""
    cluster: dict[str, Any] = {"version": None, "nodes": [], "problem": None}
    try:
        cluster["version"] = metadata.version("ray")
        ray = import_ray()
        connected = ray.is_initialized()
        connect(AUTO)
        cluster["nodes"] = [asdict(node) for node in list_nodes()]
        if not connected:
            ray.shutdown()  # else Ray would end this process with its cluster
    except metadata.PackageNotFoundError:
        return cluster
    except UserError as error:
        return cluster | {"problem": error.problem}
    return cluster


def run_options(cpus: int, gpus: int | None, memory_gb: float | None) -> Mapping[str, Any]:
    """Return the resources of a run as Ray names them."""
    memory = {"memory": int(memory_gb * GIB)} if memory_gb else {}
    return {"num_cpus": cpus, "num_gpus": gpus or 0, **memory}
