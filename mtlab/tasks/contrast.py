"""Matching against negatives that the contrast finds hard: what retrieval and pre-training share.

Shapes: B pairs of a text and an image, d width of the contrastive space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from mtlab.config.options import option
from mtlab.managers.base import Experts, Modality
from mtlab.model.layers import to_full_precision
from mtlab.tasks import objectives
from mtlab.tasks.base import PassCounts
from mtlab.tasks.heads import ContrastiveHead, MatchingHead
from mtlab.tasks.objectives import Similarities
from mtlab.towers.base import Features

if TYPE_CHECKING:
    from mtlab.data.inputs import TowerInputs
    from mtlab.distributed.process_group import ProcessGroup
    from mtlab.model.forward import ForwardContext


HARD_NEGATIVE_PASSES = PassCounts(fusion=3)  #: a pair, and two with a hard negative


@dataclass(frozen=True, kw_only=True)
class ContrastOptions:
    """Options of whatever is contrasted."""

    contrastive_width: int = option(256, "width of the space in which towers are contrasted", minimum=1)
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
    """A batch of texts or images that a tower has read."""

    features: Features  #: the tower's offered levels
    experts: Experts  #: gated and projected


def compare(context: ForwardContext, head: ContrastiveHead, text: Features, image: Features) -> Similarities:
    """Compare all texts of a batch with all its images, those of all processes, in float32."""
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
    """Tell true pairs from pairs with a hard negative: 3B pairs, their mean cross-entropy in nats.

    Of several processes each draws the negatives of all, and looks at those of its own texts and images.

    Args:
        context: in training: it draws the negatives, first an image for each text, then a text for each image.
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
        logits = to_full_precision(head(fused.pooled))
    return objectives.classification(logits, pairs.labels)


def gather_experts(group: ProcessGroup, own: Experts) -> Experts:
    """Put the experts of all processes together, texts padded to the longest, with gradient."""
    if group.world_size == 1:
        return own
    missing = 0 if own.mask is None else group.all_reduce_max(own.mask.shape[1]) - own.mask.shape[1]
    states = group.all_gather(F.pad(own.states, (0, 0, 0, missing)))
    return Experts(states, None if own.mask is None else group.all_gather(F.pad(own.mask, (0, missing))))


def run_tower(context: ForwardContext, modality: Modality, given: TowerInputs) -> TowerOutput:
    """Run a tower, gate and project its levels, once for all passes."""
    features = context.features("text" if modality == "text" else "vision", given)
    return TowerOutput(features, context.experts(modality, features))
