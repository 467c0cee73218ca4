"""Low-rank adapters (LoRA) on a tower's linear maps, by peft: they are trained, the tower's own weights are not.

Source: LoRA (ICLR 2022); adapters on all linear maps as in QLoRA (NeurIPS 2023).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mtlab.errors import UserError, missing_extra

if TYPE_CHECKING:
    from mtlab.towers.base import Tower, TowerOptions

ADAPTER = "default"


def check_lora(options: TowerOptions) -> None:
    """Check the options of adapters, before anything is built.

    Raises:
        UserError: the tower is not to be trained, there is an alpha without a rank, or peft is not installed.

    """
    if options.lora_rank is None:
        if options.lora_alpha is not None:
            raise UserError("is the scale of adapters: give lora_rank, too", key="lora_alpha")
        return
    if not options.trainable:
        raise UserError("adapters are trained: set trainable to true, too", key="lora_rank")
    if find_spec("peft") is None:
        raise missing_extra("peft", "lora", key="lora_rank")


def add_lora(tower: Tower[Any]) -> None:
    """Put adapters on all linear maps of a tower but its output map; nothing else of it is trained from then on.

    Maps within torch's `nn.MultiheadAttention`, which reads their weights past the adapters, have none, nor have those
    of a pooling behind the last level.

    Raises:
        UserError: the tower has no such maps.

    """
    from peft import LoraConfig, inject_adapter_in_model

    rank, alpha = tower.config.lora_rank, tower.config.lora_alpha
    names = _linear_maps(tower)
    if not names:
        raise UserError("the tower has no linear maps to adapt; null trains its own weights", key="lora_rank")
    tower.requires_grad_(False)
    scale = 2 * rank if alpha is None else alpha
    with torch.random.fork_rng(devices=[]):  # `reset_lora` draws them
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=scale, target_modules=names), tower, ADAPTER)
    attentions: list[Any] = [module for module in tower.modules() if hasattr(module, "qkv_bias_separate")]
    for attention in attentions:  # of timm's BEiT, EVA and Swin V2, which read weights past the adapters else
        attention.qkv_bias_separate = True


def reset_lora(tower: nn.Module, seed: int) -> None:
    """Draw a tower's adapters, if it has any: the map down at random from a seed, the map up zero."""
    adapted = _adapted_maps(tower)
    if adapted:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in adapted:
                module.reset_lora_parameters(ADAPTER, True)


@torch.no_grad()
def merged_tensors(tower: nn.Module) -> dict[str, torch.Tensor]:
    """Return a tower's tensors with its adapters added to its weights, under the names that it has without them."""
    for module in _adapted_maps(tower):
        module.merge()
    kept = {name: tensor for name, tensor in tower.state_dict().items() if ".lora_" not in name}
    return {name.replace(".base_layer.", "."): tensor for name, tensor in kept.items()}


def _adapted_maps(tower: nn.Module) -> list[Any]:
    return [module for module in tower.modules() if hasattr(module, "reset_lora_parameters")]


def _linear_maps(tower: nn.Module) -> list[str]:
    network = getattr(tower, "network", tower)
    output = getattr(network, "get_output_embeddings", lambda: None)()
    hidden = [
        name
        for name, module in tower.named_modules()
        if isinstance(module, nn.MultiheadAttention) or name.endswith(".attn_pool")
    ]
    return [
        name
        for name, module in tower.named_modules()
        if isinstance(module, nn.Linear)
        and module is not output
        and not name.startswith(tuple(f"{n}." for n in hidden))
    ]
