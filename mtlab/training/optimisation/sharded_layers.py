"""Which layers of a model are sharded over processes, with `train.shard`."""

from __future__ import annotations

from torch import nn

from mtlab.model.network import VisionLanguageModel
from mtlab.towers.causal_lm import CausalLanguageModel


def layers_to_shard(model: VisionLanguageModel) -> list[nn.Module]:
    """Return the decoder layers of the language model, and the blocks of a vision tower that runs and is a ViT.

    They hold nearly all parameters; embeddings, output map, projector and managers stay whole in each process.
    """
    towers = model.running_towers
    text, vision = towers.get("text"), towers.get("vision")
    found = list(text.network.model.layers) if isinstance(text, CausalLanguageModel) else []
    blocks = getattr(getattr(vision, "network", None), "blocks", None)
    return [*found, *(blocks if isinstance(blocks, nn.ModuleList | nn.Sequential) else [])]
