"""Metrics of pre-training: each caption of a split with its image, the same words masked in every run.

Matching is evaluated with images of other captions, the same in every run, however negatives are drawn in training.
The contrast is evaluated over the whole split. Shapes: n captions, d width of the contrastive space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mtlab.data.batches import Batch, Loader
from mtlab.model.forward import ForwardContext
from mtlab.model.layers import to_full_precision
from mtlab.tasks.evaluation import Evaluation, Floats, PassOutput, SplitOutput, run_split
from mtlab.tasks.heads import TEMPERATURES
from mtlab.tasks.ranking.similarity import contrast_split, topk_neighbours

if TYPE_CHECKING:
    from mtlab.tasks.pretraining import Pretraining  # which imports this module

ACCURACIES = {loss: f"{loss}_accuracy" for loss in ("mlm", "itm", "itc")}
RIGHT = "all right"
LOSSES = {loss: f"{loss}_loss" for loss in ("mlm", "itm", "itc")}


def evaluate(
    context: ForwardContext, task: Pretraining, loader: Loader, batch: int, between: Callable[[], None]
) -> Evaluation:
    """Evaluate a split: accuracy is the mean over the losses. Arguments as of `Task.evaluate`."""
    output = run_split(context, loader, batch, between, partial(_run_batch, context, task))
    names = [loss for loss in ACCURACIES if output.all(f"right/{loss}")]
    right = {loss: output.floats(f"right/{loss}") for loss in names}
    losses = {loss: output.mean(loss) for loss in names}
    if task.itc is not None:
        temperature = task.itc.temperature.clamp(*TEMPERATURES)
        losses["itc"], right["itc"] = _contrast(output, loader, temperature)
    weights = task.loss_weights()
    examples = loader.examples
    return Evaluation(
        loss=sum(weights.get(loss, 1.0) * value for loss, value in losses.items()),
        ids=[example.id for example in examples],
        families=[example.family for example in examples],
        clusters=[example.cluster for example in examples],
        scores={"accuracy": np.mean(list(right.values()), 0)}
        | {name: right[loss] for loss, name in ACCURACIES.items() if loss in right},
        answer_texts=_describe(right, len(examples)),
        extra_metrics={LOSSES[loss]: value for loss, value in losses.items()},
    )


def _run_batch(context: ForwardContext, task: Pretraining, batch: Batch) -> PassOutput:
    rows, batch = batch.rows, batch.to(context.device)
    tensors: dict[str, Tensor] = {}
    units: dict[str, int] = {}

    def add(loss: str, losses: Tensor, right: Tensor) -> None:
        """Add the losses of some units, and the share of each caption that is right."""
        tensors[f"right/{loss}"], tensors[loss], units[loss] = right, losses.double().sum(), len(losses)

    image = context.features("vision", batch.image)
    images = context.experts("image", image)
    if task.mlm is not None:
        assert batch.masked is not None, "the task wants them"
        words, right = task.predict_words(context, batch.masked, images), batch.masked.labels
        caption = batch.masked.positions // batch.masked.inputs[0].shape[1]  # of each hidden word, [n]
        counts = torch.bincount(caption, minlength=len(batch))
        hits = torch.zeros(len(batch), device=context.device).index_add(0, caption, (words.argmax(1) == right).float())
        # A caption without a single word (cut, or of signs alone) has nothing to predict, and nothing wrong.
        add("mlm", F.cross_entropy(words, right, reduction="none"), torch.where(counts > 0, hits / counts, 1.0))
    if task.itm is None and task.itc is None:
        return PassOutput(rows, tensors, units)
    text = context.features("text", batch.text)
    if task.itm is not None:
        assert batch.matching is not None, "the task wants them"
        matches = batch.matching.labels
        logits = task.match(context, batch.matching, context.experts("text", text), images)
        add("itm", F.cross_entropy(logits, matches, reduction="none"), (logits.argmax(1) == matches).float())
    if task.itc is not None:
        with context.autocast():
            unit: tuple[Tensor, Tensor] = task.itc(text, image)
        tensors |= {"text": to_full_precision(unit[0]), "image": to_full_precision(unit[1])}
    return PassOutput(rows, tensors, units)


def _contrast(output: SplitOutput, loader: Loader, temperature: Tensor) -> tuple[float, Floats]:
    """Contrast all captions with all images: return the loss, and the share of each caption that is right.

    Half of that is that the nearest image is its own, half that its image's nearest caption is one of its own.
    """
    text, image = output.in_order("text"), output.in_order("image")
    numbers: dict[str, int] = {}
    image_of = np.array([numbers.setdefault(example.image, len(numbers)) for example in loader.examples])
    first = np.unique(image_of, return_index=True)[1]  # a caption of each image
    image, own = image[torch.from_numpy(first).to(text.device)], torch.from_numpy(image_of).to(text.device)
    contrast = contrast_split(text, image, own, temperature)
    by_text = topk_neighbours(text, image, 1).squeeze(1) == own  # [n]
    by_image = own[topk_neighbours(image, text, 1).squeeze(1)] == torch.arange(len(image), device=text.device)
    right: Floats = ((by_text.double() + by_image[own].double()) / 2).cpu().numpy()
    return contrast.loss, right


def _describe(right: Mapping[str, Floats], captions: int) -> list[tuple[str, str]]:
    """Return right and given answer of each caption: how much is right."""

    def describe(row: int) -> str:
        shares = {loss: round(100 * values[row]) for loss, values in right.items()}
        return (
            RIGHT if set(shares.values()) == {100} else ", ".join(f"{n} {share} % right" for n, share in shares.items())
        )

    return [(RIGHT, describe(row)) for row in range(captions)]
