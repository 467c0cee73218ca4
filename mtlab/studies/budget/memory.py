"""The memory that training takes, measured by a training step on fake tensors.

Shapes and lifetimes of fake tensors are those of real ones, but nothing is computed or allocated. The sizes of living
storages are summed as they are created and freed. Parameters, and the optimiser's moments of each trained one, are
there all the time.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mtlab.config.check import check_config
from mtlab.config.schema import TrainConfig
from mtlab.managers.base import Experts
from mtlab.model.base import ManagerKey
from mtlab.model.encoder import noise_shapes
from mtlab.model.forward import ForwardContext, Runtime
from mtlab.studies.budget.dummy_batch import dummy_batch
from mtlab.tasks.base import lookup_task
from mtlab.tasks.build import construct
from mtlab.towers.base import Features
from mtlab.towers.build import KINDS, build_tower, tower_shape
from mtlab.training.optimisation.master_weights import hold_weights
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.sources import cached_towers, towers_to_run
from mtlab.training.steps import combine_losses

ALLOCATOR = 1.1  #: measured: gaps between blocks and the kernels' own buffers add about a tenth


@dataclass(frozen=True)
class Memory:
    """Bytes of tensors in training, without Python and its libraries."""

    parameters: int  #: all, trained or not, their float32 masters if there are some, and buffers
    gradients: int  #: of the trained ones
    optimiser: int  #: its moments of the gradients
    activations: int  #: alive after the forward pass, inputs included
    peak: int  #: the maximum at one time, with the allocator's overhead of a tenth


class StorageTally(TorchDispatchMode):
    """Sums the sizes of living storages within the block, and keeps the maximum."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch types no constructor of it
        self.live = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage once, until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.live += self._sizes[key]
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.live -= self._sizes.pop(key, 0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return result


def training_memory(config: Mapping[str, Any], *, answers: int, text_length: int | None = None) -> Memory:
    """Measure a training step of a resolved configuration at its micro-batch and precision; no weights are read.

    Attention is that of a CPU. Fused kernels of a GPU keep fewer activations, so that this is an upper bound.

    Args:
        config: the run's resolved configuration.
        answers: classes of the task's head.
        text_length: tokens of the batch's longest text; None: the longest that the tower takes.

    Raises:
        UserError: the configuration is wrong; the key says where.

    """
    train = config["train"]
    examples = train["micro_batch"] or train["batch"]
    cached = cached_towers(config)
    task, options = lookup_task(config)
    with torch.device("meta"):  # some towers read values as they are built, which fake tensors lack
        towers = {kind: build_tower(kind, config[kind], weights=False) for kind in towers_to_run(config, cached)}
        model = construct(
            config,
            tower_shape("text", config["text"]),
            tower_shape("vision", config["vision"]),
            answers=answers,
            text_tower=towers.get("text"),
            vision_tower=towers.get("vision"),
        ).train()
    if train["checkpoint_activations"]:
        model.recompute()
    with FakeTensorMode():
        _to_fake(model)
        masters = hold_weights(model, check_config(TrainConfig, train))
        tally = StorageTally()
        for held in (*model.parameters(), *model.buffers(), *masters.tensors().values()):
            tally.add(held)
        parameters = tally.live
        with tally:
            batch = dummy_batch(
                config, task.batch_needs(options), towers, cached, examples, text_length, answers, model.task.images
            )
            runtime = Runtime(torch.device("cpu"), train["precision"])
            losses = model.task.losses(_FakeContext(model, runtime), batch)
            loss = combine_losses(losses, dict.fromkeys(losses, 1.0), model.task.loss_weights())
            kept = tally.live - parameters
            with runtime.attention_precision():
                loss.backward()
    gradients = sum(_bytes(masters.of.get(p, p)) for p in model.parameters() if p.requires_grad)
    groups = parameter_groups(model, check_config(TrainConfig, train), dict.fromkeys(KINDS, 1.0))
    named = dict(model.named_parameters()) | masters.tensors()
    # AdamW keeps two tensors for each parameter, Muon one.
    moments = sum((1 if group.by_muon else 2) * _bytes(named[name]) for group in groups for name in group.names)
    return Memory(parameters, gradients, moments, kept, round(ALLOCATOR * (tally.peak + moments)))


def _to_fake(model: nn.Module) -> None:
    """Replace each parameter and buffer by a fake CPU tensor; shared ones stay shared."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        tables: tuple[Any, ...] = (module._parameters, module._buffers)
        for held in tables:
            for name, tensor in held.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    blank = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    learned = isinstance(tensor, nn.Parameter)
                    made[id(tensor)] = nn.Parameter(blank, tensor.requires_grad) if learned else blank
                held[name] = made[id(tensor)]


class _FakeContext(ForwardContext):
    """A forward context that draws no random numbers."""

    def negatives_generator(self) -> torch.Generator:
        return torch.Generator()

    def draw_noise(
        self,
        text: Features | Experts,
        image: Features | Experts,
        name: str = "",  # noqa: ARG002 - the interface of `ForwardContext`
    ) -> Mapping[ManagerKey, Tensor]:
        return {key: torch.empty(shape) for key, shape in noise_shapes(self.model.encoder, text, image).items()}


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
