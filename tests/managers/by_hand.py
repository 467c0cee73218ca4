"""Managers made without an encoder, and parts of their formulas written out the slow way."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mtlab.config.check import check_config
from mtlab.contract.case import EXPERTS, LAYERS, WIDTH
from mtlab.managers.base import MANAGERS, Inputs, Manager, Place
from mtlab.model.initial import initialise


def make(name: str, depth: int, offered: int = EXPERTS, layers: int = LAYERS, **options: object) -> Manager:
    entry = MANAGERS.get(name)
    config, place = check_config(entry.config, options), Place(WIDTH, offered, depth, layers, "text", EXPERTS)
    entry.cls.check(config, place)
    manager = entry.cls(config, place)
    initialise(manager, 0)
    return manager.eval()


def normed(manager: Manager, given: Inputs) -> Tensor:
    """LN_n of every expert, [B, N, L, D]."""
    states = given.experts.states
    parts = [
        F.layer_norm(states[:, n], (WIDTH,), manager.scale[n, 0], manager.shift[n, 0]) for n in range(states.shape[1])
    ]
    return torch.stack(parts, 1)


def attended(fused: torch.nn.Module, own: Tensor, given: Inputs) -> Tensor:
    """What own tokens see in the other modality, padding left out."""
    other = fused.norm(given.other)
    logits = fused.query(own) @ fused.key(other).transpose(1, 2) / WIDTH**0.5
    return logits.masked_fill(~given.other_mask[:, None], -torch.inf).softmax(-1) @ other
