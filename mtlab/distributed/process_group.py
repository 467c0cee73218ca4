"""Several processes that train one model, under `torchrun`: gloo between CPUs, NCCL between GPUs.

Each takes its share of every batch; gradients are added up, so that all take the same step. Small things (flags,
counts, outcomes of an evaluation) always go through gloo: nobody waits for a GPU to learn of them.
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

from mtlab.distributed.group import SINGLE_PROCESS, ProcessGroup
from mtlab.distributed.ranks import Ranks
from mtlab.errors import UserError
from mtlab.processes import LAUNCHER

T = TypeVar("T")

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  #: of torchrun
TELLING = VARIABLES[:4]  #: those that only torchrun sets: clusters give an address without
PATIENCE = timedelta(days=7)  #: who is late may be judging; who is dead is told by torchrun
BUCKET = 2**24  #: numbers that are added up at once


class PeerLostError(Exception):
    """Another process of the run has ended, or cannot be reached: what went wrong is told by it."""


@contextmanager
def join_group(environment: Mapping[str, str] = os.environ) -> Iterator[ProcessGroup]:
    """Join the group that torchrun's environment describes; without torchrun, or with one process, be alone.

    Raises:
        UserError: the environment is incomplete or contradictory.

    """
    found = read(environment)
    if found is None or found["WORLD_SIZE"] == 1:
        yield SINGLE_PROCESS
        return
    # A launcher knows torchrun, not what torchrun starts: it is torchrun's end that means to stop.
    os.environ[LAUNCHER] = str(os.getppid())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    with _peers():
        dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Processes(Ranks(found["RANK"], found["WORLD_SIZE"]), found["LOCAL_RANK"], found["LOCAL_WORLD_SIZE"])
    finally:
        dist.destroy_process_group()


def read(environment: Mapping[str, str]) -> dict[str, int] | None:
    """Read rank and numbers of processes from torchrun's environment; None: there is none.

    Raises:
        UserError: it is incomplete or contradictory.

    """
    if not any(name in environment for name in TELLING):
        return None
    missing = [name for name in VARIABLES if name not in environment]
    if missing:
        there = ", ".join(name for name in VARIABLES if name in environment)
        raise UserError(
            f"{there} set, {', '.join(missing)} not: start with `torchrun`, or unset all of them", file="environment"
        )
    found: dict[str, int] = {}
    for name in TELLING:
        if not environment[name].isdecimal():
            raise UserError(f"{environment[name]!r} is no number of torchrun's", key=name, file="environment")
        found[name] = int(environment[name])
    for number, count in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        if found[number] >= found[count]:
            raise UserError(f"{found[number]} is not below {count} = {found[count]}", key=number, file="environment")
    return found


class Processes(ProcessGroup):
    """Several processes; see `ProcessGroup`.

    Args:
        ranks: which one this is.
        local_rank: its number on its host.
        local_ranks: processes on its host.

    """

    def __init__(self, ranks: Ranks, local_rank: int, local_ranks: int) -> None:
        self.ranks = ranks
        self.local_rank = local_rank
        self.local_ranks = local_ranks

    def all_gather_objects(self, mine: Sequence[T]) -> list[T]:
        """See `ProcessGroup.all_gather_objects`."""
        parts: list[Any] = [None] * self.world_size
        with _peers():
            dist.all_gather_object(parts, list(mine))
        rounds = zip_longest(*parts, fillvalue=_MISSING)
        return [item for items in rounds for item in items if item is not _MISSING]

    def broadcast_object(self, thing: T) -> T:
        """See `ProcessGroup.broadcast_object`."""
        held: list[T] = [thing]
        with _peers():
            dist.broadcast_object_list(held, src=0)
        return held[0]

    def all_reduce_max(self, number: int) -> int:
        """See `ProcessGroup.all_reduce_max`."""
        held = torch.tensor(number)
        with _peers():
            dist.all_reduce(held, dist.ReduceOp.MAX)
        return int(held)

    def all_reduce_any(self, flags: Sequence[bool]) -> list[bool]:
        """See `ProcessGroup.all_reduce_any`."""
        held = torch.tensor(flags, dtype=torch.uint8)
        with _peers():
            dist.all_reduce(held, dist.ReduceOp.MAX)
        return [bool(flag) for flag in held.tolist()]

    def all_gather(self, own: Tensor) -> Tensor:
        """See `ProcessGroup.all_gather`."""
        if own.dtype == torch.bool:  # no backend promises to move these
            return self.all_gather(own.byte()).bool()
        whole: Tensor = _Gathered.apply(own, self.ranks)  # type: ignore[no-untyped-call]
        return whole

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """See `ProcessGroup.all_reduce`; one message for many small tensors."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with _peers():
                dist.all_reduce(flat)
            _spread(flat, bucket)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """See `ProcessGroup.broadcast`."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with _peers():
                dist.broadcast(flat, src=0)
            _spread(flat, bucket)

    def barrier(self) -> None:
        """See `ProcessGroup.barrier`."""
        self.all_reduce_max(0)

    def is_first_to_fail(self) -> bool:
        """See `ProcessGroup.is_first_to_fail`; asks the store, which outlives any rank."""
        try:
            store = dist.distributed_c10d._get_default_store()
            return bool(store.add("mtlab/failed", 1) == 1)
        except (RuntimeError, ValueError):  # torchrun is gone: better told twice than never
            return True


_MISSING = object()


class _Gathered(torch.autograd.Function):
    """Rows of all processes in the order of the step. What each makes of a row comes back to the row's owner."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(ranks.ranks)]
        with _peers():
            dist.all_gather(parts, own.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        whole = gradients[0].contiguous().clone()
        with _peers():
            dist.all_reduce(whole)
        return whole[ctx.ranks.own], None


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Put tensors of one type and device together, up to a size."""
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
def _spread(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


@contextmanager
def _peers() -> Iterator[None]:
    """Tell what an exchange fails of: as a rule, somebody has ended."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # of gloo, and DistError
        raise PeerLostError(" ".join(str(error).split())) from error
