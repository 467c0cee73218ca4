"""`train.precision: bf16_weights`: linear maps and convolutions are held in bfloat16, and trained in float32.

The optimiser updates a float32 copy of each, its *master*, which takes its gradients and is rounded into the model
after each step: an update smaller than what bfloat16 resolves is not lost. Autocast stays on, and finds nothing to
convert.
Source: Micikevicius et al., "Mixed Precision Training" (ICLR 2018), section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from mtlab.config.schema import TrainConfig
from mtlab.model.projection import Projections
from mtlab.tasks.heads import MatchingHead

_CAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  #: autocast turns weights and biases of these into bfloat16
_PLAIN = {kind.forward for kind in _CAST}  #: others may compute with the weight, as standardised convolutions do


class MasterWeights:
    """The float32 masters of a model's bfloat16 weights.

    What autocast would not convert stays float32 in the model: norms, embeddings, managers' layer weights, the
    projections of levels, which fold float32 statistics into their maps, and the matching head, which has autocast off.
    So every forward pass computes, to the last bit, what autocast computes with the masters: evaluation and export read
    these from the checkpoint.

    Attributes:
        of: weight that is trained → its master, which the optimiser updates in its place.

    """

    def __init__(self) -> None:
        self.of: dict[nn.Parameter, nn.Parameter] = {}
        self._names: dict[str, nn.Parameter] = {}

    def start(self, model: nn.Module) -> None:
        """Make the masters, and hold the weights in bfloat16; a frozen one has no master.

        A gradient is added to the master's, in float32, as soon as it is known: it is kept nowhere else.
        """
        for name, weight in _cast_weights(model):
            if weight.requires_grad:
                self.of[weight] = self._names[name] = nn.Parameter(weight.detach().clone())
            weight.data = weight.data.bfloat16()
            if weight.requires_grad:
                # The hook knows the master alone: through the weight, its model could never be freed.
                weight.register_post_accumulate_grad_hook(partial(_hand_over, self.of[weight]))

    def follow(self, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Round the masters that an optimiser has updated into the model after each of its steps."""
        if self.of:
            optimiser.register_step_post_hook(lambda *_: self._copy_back())
        return optimiser

    def tensors(self) -> dict[str, Tensor]:
        """Return the masters by the names of their weights in the model, for its checkpoints."""
        return {name: master.detach() for name, master in self._names.items()}

    @torch.no_grad()
    def _copy_back(self) -> None:
        updated: list[Tensor] = [weight for weight, master in self.of.items() if master.grad is not None]
        if updated:
            torch._foreach_copy_(updated, [master for master in self.of.values() if master.grad is not None])


def _hand_over(master: nn.Parameter, weight: Tensor) -> None:
    assert weight.grad is not None
    if master.grad is None:
        master.grad = weight.grad.float()
    else:
        master.grad += weight.grad
    weight.grad = None


def hold_weights(model: nn.Module, train: TrainConfig) -> MasterWeights:
    """Hold a model's weights as `train.precision` says; no masters unless it is bf16_weights."""
    masters = MasterWeights()
    if train.precision == "bf16_weights":
        masters.start(model)
    return masters


def _cast_weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the weights that autocast converts wherever they are used, by name; those of encoder and head are trained.

    One that an embedding shares is left out: autocast converts it in one place alone.
    """
    cast: set[int] = set()
    others: set[int] = set()
    for module in model.modules():
        if isinstance(module, Projections | MatchingHead):
            others |= {id(parameter) for parameter in module.parameters()}
        plain = isinstance(module, _CAST) and type(module).forward in _PLAIN
        found = cast if plain else others
        found |= {id(parameter) for parameter in module.parameters(recurse=False)}
    for name, parameter in model.named_parameters():
        chosen = id(parameter) in cast - others and parameter.dtype == torch.float32
        if chosen and (parameter.requires_grad or name.startswith("towers.")):
            yield name, parameter
