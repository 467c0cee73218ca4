"""Runs sharded layers forward and backward in two processes, and prints what the main process holds of each."""

import torch
from torch import nn

from mtlab.distributed.sharding import Sharding, is_sharded
from mtlab.distributed.torch_process_group import init_process_group


def held(layers: list[nn.Linear]) -> str:
    return " ".join("shard" if is_sharded(layer.weight) else "whole" for layer in layers)


with init_process_group() as group:
    layers, sharding = [nn.Linear(8, 8) for _ in range(3)], Sharding()
    sharding.start(layers, group, torch.device("cpu"))
    told = [held(layers)]
    states = torch.ones(2, 8)
    for layer in layers:
        states = layer(states)
    told.append(held(layers))
    states.sum().backward()
    told.append(held(layers))
    with sharding.gathered():
        told.append(held(layers))
    told.append(held(layers))
    if group.is_main:
        print(*told, sep="\n")
