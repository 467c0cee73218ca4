"""Initial values of a model, drawn for each module from its own generator."""

from __future__ import annotations

import torch
from torch import nn

from mtlab.model.projection import PositionEmbedding
from mtlab.seeding import derive


@torch.no_grad()
def initialise(
    module: nn.Module, seed: int, prefix: str = "", *, std: float | None = 0.02, position_std: float = 0.3
) -> None:
    """Draw the initial values of every submodule from its own generator, seeded by the run's seed and its path.

    Linear and Embedding weights are normal with deviation `std`, biases 0. Without `std` it is 1 / √inputs (LeCun,
    *Efficient BackProp*, 1998), for embeddings 1 / √width: outputs are then as large as inputs, so that levels with 24
    and with 320 channels start alike, and levels that are joined side by side are not louder than one. The published
    0.02 goes with width 768: layers of width 64 started there pass so little from one modality to the other that
    training stands still for thousands of steps.

    LayerNorms scale by 1 and shift by 0. Positions start from sines. All images of a text start with one token type, as
    published. Other parameters, such as managers' layer scores, keep what their constructor gave.

    Args:
        module: what is initialised, in place.
        seed: the run's.
        prefix: the module's own path.
        std: deviation of the weights; None: 1 / √inputs, of an embedding 1 / √width.
        position_std: deviation of position embeddings.

    """
    for name, child in module.named_modules(prefix=prefix):
        if isinstance(child, PositionEmbedding):
            child.weight.copy_(position_std * child.sines())
        elif isinstance(child, nn.Linear | nn.Embedding):
            generator = torch.Generator().manual_seed(derive(seed, "init", name))
            rows = 1 if name.endswith("embeddings.token_type") else len(child.weight)
            drawn = torch.randn(rows, *child.weight.shape[1:], generator=generator)
            child.weight.copy_(drawn * (std or child.weight.shape[1] ** -0.5))
        if isinstance(child, nn.Linear | nn.LayerNorm) and child.bias is not None:
            child.bias.zero_()
        if isinstance(child, nn.LayerNorm) and child.weight is not None:
            child.weight.fill_(1.0)
