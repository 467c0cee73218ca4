"""Running the model on a batch, and one optimiser step over its micro-batches.

Shapes: B examples, A answers, N experts, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mtlab.data.batches import Batch
from mtlab.managers.base import Intervention, Modality
from mtlab.model import Answered, VisionLanguageModel, draw_noise
from mtlab.training.seeding import noise_generator, seed_dropout

Interventions = Mapping[tuple[Modality, int], Intervention]


@dataclass(frozen=True)
class Arithmetic:
    """Where and how precisely a model is run."""

    device: torch.device
    bf16: bool = False  #: autocast the forward pass

    def autocast(self) -> torch.autocast:
        """Make the context in which the forward pass runs."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


def logits(
    model: VisionLanguageModel, batch: Batch, arithmetic: Arithmetic, intervene: Interventions | None = None
) -> Tensor:
    """Run the model without training noise: a batch on its device → logits [B, A] in float32."""
    with arithmetic.autocast():
        answered: Answered = model(batch.text, batch.image, intervene=intervene)
    return answered.logits.float()


def noisy_logits(
    model: VisionLanguageModel, batch: Batch, arithmetic: Arithmetic, *, seed: int, step: int, micro: int
) -> Tensor:
    """Run the model as in training, with the noise and dropout of this micro-batch → logits [B, A] in float32."""
    device = str(arithmetic.device)
    with arithmetic.autocast():
        text, image = model.features("text", batch.text), model.features("vision", batch.image)
        noise = draw_noise(model.encoder, text, image, partial(noise_generator, seed, step, micro, device=device))
        answered: Answered = model(text, image, noise=noise)
    return answered.logits.float()


def train_step(
    model: VisionLanguageModel,
    optimiser: torch.optim.Optimizer,
    micro_batches: Sequence[Batch],
    arithmetic: Arithmetic,
    *,
    seed: int,
    step: int,
    clip: float | None,
    watch: Callable[[], None] = lambda: None,
) -> Tensor:
    """Make one optimiser step; the gradient is that of the mean over all examples, however they are split.

    Args:
        model: in training mode.
        optimiser: with this step's learning rates set.
        micro_batches: the step's examples, on the CPU or on the device.
        arithmetic: where and how precisely.
        seed: the run's.
        step: the optimiser step, from 0.
        clip: largest norm of the gradient; None: as it is.
        watch: called when the gradient is known, before it is clipped.

    Returns:
        The mean loss over the step's examples, a scalar on the device: reading it waits for the device.

    """
    optimiser.zero_grad(set_to_none=True)
    examples = sum(map(len, micro_batches))
    total = torch.zeros((), device=arithmetic.device)
    for micro, given in enumerate(micro_batches):
        batch = given.to(arithmetic.device)
        seed_dropout(seed, step, micro)
        given_logits = noisy_logits(model, batch, arithmetic, seed=seed, step=step, micro=micro)
        loss = model.task.loss(given_logits, batch.targets) * (len(batch) / examples)
        loss.backward()
        total += loss.detach()
    watch()
    if clip is not None:
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, clip, foreach=True)
    optimiser.step()
    return total
