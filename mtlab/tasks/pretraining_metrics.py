"""How well pre-training goes: each caption of a split with its image, the same words hidden in every run.

Matching is judged with images of other captions, the same in every run, however its negatives are found in training.
The contrast is judged over the whole split. Shapes: n captions, d width of the contrastive space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mtlab.model.layers import to_full_precision
from mtlab.tasks.evaluation import Evaluation, Floats, PassOutput, SplitOutput, run_split
from mtlab.tasks.heads import TEMPERATURES
from mtlab.tasks.ranking.similarity import contrast_split, nearest

if TYPE_CHECKING:
    from mtlab.data.batches import Batch, Loader
    from mtlab.model.forward import ForwardContext
    from mtlab.tasks.pretraining import Pretraining

ACCURACIES = {loss: f"{loss}_accuracy" for loss in ("mlm", "itm", "itc")}
RIGHT = "all right"
LOSSES = {loss: f"{loss}_loss" for loss in ("mlm", "itm", "itc")}


def evaluate(
    context: ForwardContext, task: Pretraining, loader: Loader, batch: int, between: Callable[[], None]
) -> Evaluation:
    """Judge a split: accuracy is the mean over what is learnt. Arguments as of `Task.evaluate`."""
    gathered = run_split(context, loader, batch, between, partial(_look, context, task))
    looked_at = [loss for loss in ACCURACIES if gathered.all(f"right/{loss}")]
    right = {loss: gathered.floats(f"right/{loss}") for loss in looked_at}
    losses = {loss: gathered.mean(loss) for loss in looked_at}
    if task.itc is not None:
        temperature = task.itc.temperature.clamp(*TEMPERATURES)
        losses["itc"], right["itc"] = _contrast(gathered, loader, temperature)
    weights = task.weights()
    examples = loader.examples
    return Evaluation(
        loss=sum(weights.get(loss, 1.0) * value for loss, value in losses.items()),
        ids=[example.id for example in examples],
        families=[example.family for example in examples],
        scores={"accuracy": np.mean(list(right.values()), 0)}
        | {name: right[loss] for loss, name in ACCURACIES.items() if loss in right},
        answer_texts=_told(right, len(examples)),
        extra_metrics={LOSSES[loss]: value for loss, value in losses.items()},
    )


def _look(context: ForwardContext, task: Pretraining, chosen: Batch) -> PassOutput:
    batch = chosen.to(context.device)
    found: dict[str, Tensor] = {}
    units: dict[str, int] = {}

    def add(loss: str, losses: Tensor, right: Tensor) -> None:
        """Take in the losses of some units, and the share that is right of each caption."""
        found[f"right/{loss}"], found[loss], units[loss] = right, losses.double().sum(), len(losses)

    image = context.features("vision", batch.image)
    images = context.experts("image", image)
    if task.mlm is not None:
        assert batch.masked is not None, "the task wants them"
        words, right = task.predict_words(context, batch.masked, images), batch.masked.labels
        caption = batch.masked.positions // batch.masked.inputs[0].shape[1]  # of each hidden word, [n]
        counts = torch.bincount(caption, minlength=len(batch))
        hits = torch.zeros(len(batch), device=context.device).index_add(0, caption, (words.argmax(1) == right).float())
        # A caption without a single word (cut, or of signs alone) has nothing to guess, and nothing wrong.
        add("mlm", F.cross_entropy(words, right, reduction="none"), torch.where(counts > 0, hits / counts, 1.0))
    if task.itm is None and task.itc is None:
        return PassOutput(chosen.rows, found, units)
    text = context.features("text", batch.text)
    if task.itm is not None:
        assert batch.matching is not None, "the task wants them"
        matches = batch.matching.labels
        logits = task.match(context, batch.matching, context.experts("text", text), images)
        add("itm", F.cross_entropy(logits, matches, reduction="none"), (logits.argmax(1) == matches).float())
    if task.itc is not None:
        with context.autocast():
            unit: tuple[Tensor, Tensor] = task.itc(text, image)
        found |= {"text": to_full_precision(unit[0]), "image": to_full_precision(unit[1])}
    return PassOutput(chosen.rows, found, units)


def _contrast(gathered: SplitOutput, loader: Loader, temperature: Tensor) -> tuple[float, Floats]:
    """Contrast all captions with all images: loss, and how much is right of each caption.

    Half of that is that the nearest image is its own, half that its image's nearest caption is one of its own.
    """
    text, image = gathered.in_order("text"), gathered.in_order("image")
    numbers: dict[str, int] = {}
    image_of = np.array([numbers.setdefault(example.image, len(numbers)) for example in loader.examples])
    first = np.unique(image_of, return_index=True)[1]  # a caption of each image
    image, own = image[torch.from_numpy(first).to(text.device)], torch.from_numpy(image_of).to(text.device)
    found = contrast_split(text, image, own, temperature)
    by_text = nearest(text, image, 1).squeeze(1) == own  # [n]
    by_image = own[nearest(image, text, 1).squeeze(1)] == torch.arange(len(image), device=text.device)
    right: Floats = ((by_text.double() + by_image[own].double()) / 2).cpu().numpy()
    return found.loss, right


def _told(right: Mapping[str, Floats], captions: int) -> list[tuple[str, str]]:
    """Say of each caption how much is right."""

    def given(row: int) -> str:
        shares = {loss: round(100 * found[row]) for loss, found in right.items()}
        return (
            RIGHT if set(shares.values()) == {100} else ", ".join(f"{n} {share} % right" for n, share in shares.items())
        )

    return [(RIGHT, given(row)) for row in range(captions)]
