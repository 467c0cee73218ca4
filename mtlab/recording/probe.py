"""One forward pass that records managers' weights and outputs, and the attention of the cross-modal layers.

Shapes: B examples, N experts, P previous states, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlab.data.base import Example
from mtlab.data.batches import Batch
from mtlab.managers.base import MODALITIES, Aggregated, Modality
from mtlab.model.base import ManagerKey
from mtlab.model.forward import Runtime
from mtlab.model.network import VisionLanguageModel
from mtlab.recording.attention import LayerEntropies, measure_entropies


@dataclass(frozen=True)
class RecordedBatch:
    """Recordings of one forward pass over a batch."""

    managers: Mapping[ManagerKey, Aggregated]
    masks: Mapping[Modality, Tensor | None]  #: True at real tokens, [B, L]; None: all are real
    attention: Mapping[ManagerKey, LayerEntropies]
    temperatures: Mapping[ManagerKey, Tensor]  #: of the managers that have one, scalars

    def real(self, modality: Modality) -> Tensor:
        """Return which tokens of a modality are real, bool [B, L]."""
        mask = self.masks[modality]
        if mask is not None:
            return mask.bool()
        hidden = next(each.hidden for (own, _), each in self.managers.items() if own == modality)
        return torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)


Recorder = Callable[[Batch], RecordedBatch]  #: a batch on the model's device → its recordings


@torch.inference_mode()
def record_batch(model: VisionLanguageModel, runtime: Runtime, batch: Batch) -> RecordedBatch:
    """Run a model, in evaluation mode, on a batch on its device."""
    with runtime.autocast():
        text, image = model.features("text", batch.text), model.features("vision", batch.image)
        fused = model.fuse(text, image, record=True)
    managers = fused[0].recorded or {}
    hidden = {key: each.hidden.float() for key, each in managers.items()}
    # What is recorded is of the first image, where a text goes with several.
    _, first = next(model.split_images(image))
    masks: dict[Modality, Tensor | None] = {"text": text.mask, "image": first.mask}
    # In float32, unless the layers are held in bfloat16.
    with runtime.autocast() if runtime.precision == "bf16_weights" else nullcontext():
        attention = measure_entropies(model.encoder, hidden, masks)
    return RecordedBatch(
        managers=managers,
        masks=masks,
        attention=attention,
        temperatures=_temperatures(model),
    )


@contextmanager
def recording_mode(model: VisionLanguageModel, device: torch.device) -> Iterator[None]:
    """Record a model during training: in evaluation mode, uncompiled, and without using up random numbers."""
    training = model.training
    model.eval()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), uncompiled(model):
            yield
    finally:
        model.train(training)


def uncompiled(model: VisionLanguageModel) -> AbstractContextManager[None]:
    """Run a compiled encoder eagerly: compiling it again for a few passes would take longer than they do."""
    if model.encoder._compiled_call_impl is None:  # torch has no public name for it
        return nullcontext()
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance


def sample_evenly(examples: Sequence[Example], count: int) -> list[int]:
    """Choose at most `count` examples, by their rows: evenly over the families, and evenly within each.

    Data sets put families in turns: every n-th example of a split may well belong to one family alone.
    """
    by_family = sorted(range(len(examples)), key=lambda row: (examples[row].family, row))
    chosen = min(count, len(examples))
    return sorted(by_family[number * len(examples) // chosen] for number in range(chosen))


def _temperatures(model: VisionLanguageModel) -> dict[ManagerKey, Tensor]:
    temperatures = {}
    for key, manager in model.encoder.managers():
        temperature = getattr(manager, "temperature", None)
        if isinstance(temperature, Tensor) and temperature.numel() == 1:
            temperatures[key] = temperature.detach().float().reshape(()).clone()  # training changes it in place
    return temperatures


def per_token(values: Tensor, hidden: Tensor) -> Tensor:
    """Reduce recorded rows, [B|1, N + P, L|1, D|1] or [B, N + P, L], to one number per token: float64 [B, N + P, L]."""
    each = values if values.ndim == 3 else values.double().mean(-1)
    return each.double().expand(hidden.shape[0], -1, hidden.shape[1])


def manager_rows(recorded: RecordedBatch) -> Iterator[tuple[str, Modality, Tensor]]:
    """Iterate over all weights and contributions: name, modality, float64 [B, N + P, L]."""
    for (modality, depth), aggregated in recorded.managers.items():
        for kind, values in (("weights", aggregated.weights), ("contributions", aggregated.contributions)):
            if values is not None:
                yield f"{kind}/{modality}/{depth}", modality, per_token(values, aggregated.hidden)


def dimension_spreads(recorded: RecordedBatch) -> Iterator[tuple[str, Modality, Tensor]]:
    """Iterate over the spread over D of weights that have one for each dimension: name, modality, [B, N + P, L]."""
    for (modality, depth), aggregated in recorded.managers.items():
        weights, hidden = aggregated.weights, aggregated.hidden
        if weights is not None and weights.shape[-1] > 1:
            spread = weights.double().std(-1, correction=0)
            yield f"weights_dimensions/{modality}/{depth}", modality, spread.expand(len(hidden), -1, hidden.shape[1])


def removed(recorded: RecordedBatch) -> list[ManagerKey]:
    """List the managers whose contributions were measured by removal."""
    return [key for key, aggregated in recorded.managers.items() if aggregated.by_removal]


def labels(
    names: Sequence[str], rows: Mapping[str, int], levels: Mapping[Modality, Sequence[int]]
) -> dict[str, list[str]]:
    """Name the rows of arrays: the offered levels (1-based), lowest first, then previous states.

    Args:
        names: `KIND/MODALITY/DEPTH`.
        rows: how many each has.
        levels: the offered levels.

    """
    named = {}
    for name in names:
        modality = next(each for each in MODALITIES if each == name.split("/")[1])
        experts = [f"level {level}" for level in levels[modality]]
        named[name] = experts + [f"previous {number}" for number in range(1, rows[name] - len(experts) + 1)]
    return named
