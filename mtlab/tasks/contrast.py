"""Contrast of the towers and matching against its hard negatives, for retrieval and pre-training.

Shapes: B pairs of a text and an image, d width of the contrastive space.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from mtlab.config.options import MAX_SIZE, option
from mtlab.data.inputs import TowerInputs
from mtlab.distributed.process_group import ProcessGroup
from mtlab.managers.base import Experts, Modality
from mtlab.model.forward import ForwardContext
from mtlab.model.layers import to_full_precision
from mtlab.tasks import objectives
from mtlab.tasks.base import PassCounts
from mtlab.tasks.heads import ContrastiveHead, MatchingHead
from mtlab.tasks.objectives import Similarities
from mtlab.towers.base import Features

HARD_NEGATIVE_PASSES = PassCounts(fusion=3)  #: a pair, and two with a hard negative


@dataclass(frozen=True, kw_only=True)
class ContrastOptions:
    """Options of tasks with a contrast."""

    contrastive_width: int = option(
        256, "width of the space in which towers are contrasted", minimum=1, maximum=MAX_SIZE
    )
    temperature: float = option(
        0.07, "initial temperature of the contrast, learned from there", minimum=0.001, maximum=0.5
    )
    contrasted: int | None = option(
        None,
        "pairs of a batch that are contrasted with each other, which train.micro_batch must be; null: all",
        minimum=2,
    )


@dataclass(frozen=True)
class TowerOutput:
    """A tower's output for a batch of texts or images."""

    features: Features  #: the tower's offered levels
    experts: Experts  #: gated and projected


def compare(context: ForwardContext, head: ContrastiveHead, text: Features, image: Features) -> Similarities:
    """Compare all texts of a batch with all its images, over all processes, in float32."""
    with context.autocast():
        units: tuple[Tensor, Tensor] = head(text, image)
    texts, images = (context.group.all_gather(to_full_precision(unit)) for unit in units)
    return objectives.similarities(texts, images, head.clamped())


def match_hard_negatives(
    context: ForwardContext,
    head: MatchingHead,
    text: TowerOutput,
    image: TowerOutput,
    scores: Similarities,
    positives: Tensor,
) -> Tensor:
    """Match true pairs and pairs with a hard negative: mean cross-entropy of 3B pairs, in nats.

    Each process draws the negatives of all processes, and matches every world_size-th pair.

    Args:
        context: in training; its generator draws the negatives, first an image for each text, then a text for each.
        head: of matching.
        text: the texts of this process's share of the batch.
        image: its images.
        scores: of the contrast.
        positives: which pairs belong together, [B, B]: never drawn as negatives.

    """
    generator = context.negatives_generator()
    hard_images = objectives.draw_negatives(objectives.negative_weights(scores.text_to_image, positives), generator)
    hard_texts = objectives.draw_negatives(objectives.negative_weights(scores.image_to_text, positives), generator)
    pairs = objectives.pair_hard_negatives(hard_images, hard_texts).at(context.group.ranks.own)
    texts, images = (gather_experts(context.group, each.experts) for each in (text, image))
    with context.autocast():
        fused = context.fuse(texts.at(pairs.texts), images.at(pairs.images), name="hard negatives")
        logits = head(fused.pooled)
    return objectives.classification(logits, pairs.labels)


def gather_experts(group: ProcessGroup, own: Experts) -> Experts:
    """Gather the experts of all processes, texts padded to the longest, with gradient."""
    if group.world_size == 1:
        return own
    missing = 0 if own.mask is None else group.all_reduce_max(own.mask.shape[1]) - own.mask.shape[1]
    states = group.all_gather(F.pad(own.states, (0, 0, 0, missing)))
    return Experts(states, None if own.mask is None else group.all_gather(F.pad(own.mask, (0, missing))))


def run_tower(context: ForwardContext, modality: Modality, inputs: TowerInputs) -> TowerOutput:
    """Run a tower, gate and project its levels, once for all forward passes."""
    features = context.features("text" if modality == "text" else "vision", inputs)
    return TowerOutput(features, context.experts(modality, features))
