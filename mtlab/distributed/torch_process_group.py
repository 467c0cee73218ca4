"""Several processes that train one model under `torchrun`: gloo between CPUs, NCCL between GPUs.

Each process takes its share of every batch, and gradients are summed, so that all take the same step. Objects, flags
and counts always go through gloo, so that nobody waits for a GPU.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import zip_longest
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mtlab.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from mtlab.distributed.ranks import Ranks
from mtlab.errors import UserError
from mtlab.processes import LAUNCHER

T = TypeVar("T")

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  #: of torchrun
NUMBERS = VARIABLES[:4]  #: those that only torchrun sets: clusters give an address without
TIMEOUT = timedelta(days=7)  #: a slow process may be evaluating; of a dead one torchrun knows
BUCKET = 2**24  #: numbers that are reduced in one message


class PeerLostError(Exception):
    """Another process of the run has ended or cannot be reached; it reports the cause itself."""


@contextmanager
def init_process_group(environment: Mapping[str, str] = os.environ) -> Iterator[ProcessGroup]:
    """Join the group that torchrun's environment describes; a single process without torchrun, or with one process.

    Raises:
        UserError: the environment is incomplete or contradictory.

    """
    numbers = read_environment(environment)
    if numbers is None or numbers["WORLD_SIZE"] == 1:
        yield SINGLE_PROCESS
        return
    # The launcher knows torchrun, not torchrun's workers: it is torchrun's end that they watch for.
    os.environ[LAUNCHER] = str(os.getppid())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    with _peer_errors():
        dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        ranks = Ranks(numbers["RANK"], numbers["WORLD_SIZE"])
        yield TorchProcessGroup(ranks, numbers["LOCAL_RANK"], numbers["LOCAL_WORLD_SIZE"])
    finally:
        if backend == "gloo":  # NCCL's end waits for all processes, for ever where this one has failed; it ends with it
            dist.destroy_process_group()


def read_environment(environment: Mapping[str, str]) -> dict[str, int] | None:
    """Read ranks and numbers of processes from torchrun's environment; None if it sets none.

    Raises:
        UserError: it is incomplete or contradictory.

    """
    if not any(name in environment for name in NUMBERS):
        return None
    missing = [name for name in VARIABLES if name not in environment]
    if missing:
        there = ", ".join(name for name in VARIABLES if name in environment)
        raise UserError(
            f"{there} set, {', '.join(missing)} not: start with `torchrun`, or unset all of them", file="environment"
        )
    numbers: dict[str, int] = {}
    for name in NUMBERS:
        if not environment[name].isdecimal():
            raise UserError(f"{environment[name]!r} is no number of torchrun's", key=name, file="environment")
        numbers[name] = int(environment[name])
    for rank, size in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        if numbers[rank] >= numbers[size]:
            raise UserError(f"{numbers[rank]} is not below {size} = {numbers[size]}", key=rank, file="environment")
    return numbers


class TorchProcessGroup(ProcessGroup):
    """Several processes, by torch.distributed.

    Args:
        ranks: rank of this process and number of all.
        local_rank: its number on its host.
        local_world_size: processes on its host.

    """

    def __init__(self, ranks: Ranks, local_rank: int, local_world_size: int) -> None:
        self.ranks = ranks
        self.local_rank = local_rank
        self.local_world_size = local_world_size

    def all_gather_objects(self, items: Sequence[T]) -> list[T]:
        """See `ProcessGroup.all_gather_objects`; processes may have one item more or less than others."""
        parts: list[Any] = [None] * self.world_size
        with _peer_errors():
            dist.all_gather_object(parts, list(items))
        rounds = zip_longest(*parts, fillvalue=_MISSING)
        return [item for each in rounds for item in each if item is not _MISSING]

    def broadcast_object(self, item: T) -> T:
        """See `ProcessGroup.broadcast_object`."""
        held: list[T] = [item]
        with _peer_errors():
            dist.broadcast_object_list(held, src=0)
        return held[0]

    def all_reduce_max(self, number: int) -> int:
        """See `ProcessGroup.all_reduce_max`."""
        held = torch.tensor(number)
        with _peer_errors():
            dist.all_reduce(held, dist.ReduceOp.MAX)
        return int(held)

    def all_reduce_any(self, flags: Sequence[bool]) -> list[bool]:
        """See `ProcessGroup.all_reduce_any`."""
        held = torch.tensor(flags, dtype=torch.uint8)
        with _peer_errors():
            dist.all_reduce(held, dist.ReduceOp.MAX)
        return [bool(flag) for flag in held.tolist()]

    def all_gather(self, rows: Tensor) -> Tensor:
        """See `ProcessGroup.all_gather`."""
        if rows.dtype == torch.bool:  # no backend promises to send these
            return self.all_gather(rows.byte()).bool()
        gathered: Tensor = _AllGather.apply(rows, self.ranks)  # type: ignore[no-untyped-call] # torch's has no types
        return gathered

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """See `ProcessGroup.all_reduce`; many small tensors share a message."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with _peer_errors():
                dist.all_reduce(flat)
            _copy_back(flat, bucket)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """See `ProcessGroup.broadcast`; many small tensors share a message."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with _peer_errors():
                dist.broadcast(flat, src=0)
            _copy_back(flat, bucket)

    def barrier(self) -> None:
        """See `ProcessGroup.barrier`; through gloo, whatever the device."""
        self.all_reduce_max(0)

    def is_first_to_fail(self) -> bool:
        """See `ProcessGroup.is_first_to_fail`; counted in the store, which outlives any rank."""
        try:
            store = dist.distributed_c10d._get_default_store()
            return bool(store.add("mtlab/failed", 1) == 1)
        except (RuntimeError, ValueError):  # torchrun is gone: better to report twice than never
            return True


_MISSING = object()


class _AllGather(torch.autograd.Function):
    """Gather rows in the order of the step; the gradient of a row is summed over all processes, at its owner.

    `torch.distributed.nn.functional.all_gather` does the same, but warns from torch 2.13 on that it is deprecated; its
    successor is private, and is not in torch 2.11.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(ranks.world_size)]
        with _peer_errors():
            dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        with _peer_errors():
            dist.all_reduce(total)
        return total[ctx.ranks.own], None


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Group tensors of one type and device, up to a size."""
    by_kind: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    sizes: Counter[tuple[torch.dtype, torch.device]] = Counter()
    for tensor in tensors:
        kind = tensor.dtype, tensor.device
        by_kind.setdefault(kind, []).append(tensor)
        sizes[kind] += tensor.numel()
        if sizes[kind] >= BUCKET:
            yield by_kind.pop(kind)
            del sizes[kind]
    yield from by_kind.values()


@torch.no_grad()
def _copy_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


@contextmanager
def _peer_errors() -> Iterator[None]:
    """Raise `PeerLostError` where a collective fails: as a rule another process has ended."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # of gloo, and DistError
        if "out of memory" in str(error):  # of a CUDA context
            raise
        raise PeerLostError(" ".join(str(error).split())) from error
