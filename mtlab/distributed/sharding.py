"""Layers that are too large to be held once by each process: every one keeps its share of them (FSDP2).

Of a sharded layer, a process holds an R-th of the parameters, their gradients and the moments; what the layer
computes with is gathered for its forward and backward pass, and freed again. All other parameters are whole everywhere.
Source: Zhao et al., VLDB 2023; `torch.distributed.fsdp.fully_shard`.

Shapes: R processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mtlab.distributed.process_group import ProcessGroup


class Sharding:
    """The sharded layers of a model; before `start`, and in a single process, there are none."""

    def __init__(self) -> None:
        self.layers: tuple[Any, ...] = ()
        #: id of this process's shard → itself, and the sharded parameter
        self._shards: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}
        self._gathered = False

    def __bool__(self) -> bool:
        return bool(self.layers)

    def start(self, layers: Sequence[nn.Module], group: ProcessGroup, device: torch.device) -> None:
        """Shard layers whose parameters are the same in all processes; each keeps its shard.

        Args:
            layers: modules that are called as such, none within another.
            group: the processes.
            device: that the parameters are on.

        """
        if group.world_size == 1 or not layers:
            return
        from torch.distributed.device_mesh import init_device_mesh  # here: their import takes a second
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(device.type, (group.world_size,))
        for layer in layers:
            sharded: Any = fully_shard(layer, mesh=mesh, reshard_after_forward=True)  # None: a root keeps it whole
            sharded.set_gradient_divide_factor(1.0)  # a sum: losses are shares of the whole batch's mean
            sharded.set_force_sum_reduction_for_comms(True)  # gloo knows no other
            for whole in layer.parameters():
                shard = nn.Parameter(local(whole), requires_grad=whole.requires_grad)
                self._shards[id(shard)] = (shard, whole)
        self.layers = tuple(layers)

    def shards(self) -> dict[nn.Parameter, nn.Parameter]:
        """Map sharded parameters to this process's shards of them, which the optimiser updates in place."""
        return {whole: shard for shard, whole in self._shards.values()}

    def is_shard(self, parameter: nn.Parameter) -> bool:
        """Is this a shard, whose gradient is summed over all processes already?"""
        return id(parameter) in self._shards

    def collect_gradients(self) -> None:
        """Hand gradients of sharded parameters over to the shards."""
        for shard, whole in self._shards.values():
            shard.grad = None if whole.grad is None else local(whole.grad)
            whole.grad = None

    def gather(self, shard: nn.Parameter, tensor: Tensor) -> Tensor:
        """Gather all processes' shards of a parameter's tensor, such as a moment; all must call this.

        Returns:
            The whole tensor, on the CPU if it was gathered; an empty one on all processes but the main one.

        """
        if id(shard) not in self._shards or tensor.shape != shard.shape:
            return tensor
        from torch.distributed.tensor import DTensor

        whole: Any = self._shards[id(shard)][1]
        stride = whole.stride()
        held = DTensor.from_local(tensor, whole.device_mesh, whole.placements, shape=whole.shape, stride=stride)
        return full(held)

    def shard(self, shard: nn.Parameter, tensor: Tensor) -> Tensor:
        """Return this process's shard of a whole tensor that belongs to a parameter."""
        if id(shard) not in self._shards or not tensor.ndim:
            return tensor
        return shard_like(tensor, self._shards[id(shard)][1])

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Hold all layers whole within the block, so that processes may run the model independently of each other."""
        if self._gathered or not self.layers:
            yield
            return
        self._gathered = True
        for layer in self.layers:
            layer.set_reshard_after_forward(False)
            layer.unshard()
        try:
            yield
        finally:
            self._gathered = False
            for layer in self.layers:
                layer.reshard()
                layer.set_reshard_after_forward(True)


NOT_SHARDED = Sharding()


def is_sharded(tensor: Tensor) -> bool:
    """Does this process hold only a shard of a tensor?"""
    return hasattr(tensor, "placements")


def local(tensor: Tensor) -> Tensor:
    """Return this process's shard of a sharded tensor, in the same memory."""
    sharded: Any = tensor.detach()
    shard: Tensor = sharded.to_local()
    return shard


def full(tensor: Tensor) -> Tensor:
    """Return a tensor as a whole; if it is sharded, all processes must call this.

    Returns:
        A sharded one on the CPU, as a GPU has no room for all of them, and of the main process alone, as the host has
        none for a copy of each process: the others get an empty one.

    """
    if not is_sharded(tensor):
        return tensor
    sharded: Any = tensor
    whole: Tensor = sharded.full_tensor()
    return whole.cpu() if sharded.device_mesh.get_rank() == 0 else whole.new_empty(0, device="cpu")


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this process's shard of a whole tensor, cut as a sharded one is."""
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = like
    return local(distribute_tensor(tensor.to(like.device), sharded.device_mesh, sharded.placements, src_data_rank=None))


def copy_into(held: Tensor, tensor: Tensor) -> None:
    """Copy a whole tensor into one that may be sharded."""
    if is_sharded(held):
        local(held).copy_(shard_like(tensor, held))
    else:
        held.copy_(tensor)
