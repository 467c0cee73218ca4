"""The objectives of METER, BridgeTower and ManagerTower as functions of logits, features and targets.

Shapes: B pairs of a text and an image, L text tokens, V vocabulary, A answers, d width of the contrastive space.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORED = -100  #: label of a token that is not to be predicted


def masked_language(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy, in nats, over the tokens to be predicted: logits [B, L, V], labels [B, L] or `IGNORED`."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def classification(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy, in nats: logits [B, A], targets [B], or shares of all answers [B, A]."""
    return F.cross_entropy(logits, targets)


def likelihood(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood, in nats: log-likelihoods [B, A], targets [B], or shares of all answers [B, A]."""
    if targets.ndim == 1:
        return F.nll_loss(scores, targets)
    return -(scores * targets).sum(1).mean()


def score_targets(targets: Tensor, answers: int) -> Tensor:
    """Write the one right answer of each question, [B], as scores of all answers, [B, A]; scores stay as they are.

    A target of −1 (the right answer cannot be given) becomes a row of zeros: whatever is answered is wrong.
    """
    if targets.ndim > 1:
        return targets
    return F.one_hot(targets.clamp_min(0), answers) * (targets >= 0).unsqueeze(-1)


def shares(targets: Tensor) -> Tensor:
    """Turn scores of all answers, [B, A], into shares that sum to one; numbers of right answers stay as they are."""
    if targets.ndim == 1:
        return targets
    return targets / targets.sum(1, keepdim=True).clamp_min(torch.finfo(targets.dtype).tiny)


def binary_answers(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of every answer, summed over answers, mean over questions: the published loss of VQAv2.

    Args:
        logits: [B, A].
        targets: the right answers [B], or a score between 0 and 1 for each answer [B, A].

    """
    scores = score_targets(targets, logits.shape[-1]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, scores) * logits.shape[-1]


def answer_scores(logits: Tensor, targets: Tensor) -> Tensor:
    """Score the likeliest answer of each question, [B]: its target, 1 or 0, or in VQAv2 between."""
    scores = score_targets(targets, logits.shape[-1]).to(logits.dtype)
    return scores.gather(-1, logits.argmax(-1, keepdim=True)).squeeze(-1)


@dataclass(frozen=True)
class Similarities:
    """How well each text and each image of a batch go together, by their own towers alone."""

    image_to_text: Tensor  #: over the temperature, [B images, B texts]
    text_to_image: Tensor  #: [B texts, B images]


def similarities(text: Tensor, image: Tensor, temperature: Tensor) -> Similarities:
    """Compare unit vectors of texts and images, both [B, d]."""
    scores = image @ text.T / temperature
    return Similarities(scores, scores.T)


def contrastive(scores: Similarities, positives: Tensor | None = None) -> Tensor:
    """Mean of the cross-entropies image → text and text → image (ITC).

    Args:
        scores: of the batch.
        positives: which pairs belong together, [B, B] and symmetric; each row's share the target evenly. None: those
            of the same index alone, as in pre-training.

    """
    if positives is None:
        positives = torch.eye(len(scores.image_to_text), dtype=torch.bool, device=scores.image_to_text.device)
    targets = positives.to(scores.image_to_text.dtype)
    targets = targets / targets.sum(1, keepdim=True)
    losses = [F.cross_entropy(given, targets) for given in (scores.image_to_text, scores.text_to_image)]
    return (losses[0] + losses[1]) / 2


def same_image(images: Tensor) -> Tensor:
    """Return which pairs belong together when texts share images: equal numbers in [B] → [B, B]."""
    return images.unsqueeze(0) == images.unsqueeze(1)


@torch.no_grad()
def negative_weights(scores: Tensor, positives: Tensor) -> Tensor:
    """Weigh the candidates for each row's hard negative: softmax of [B, B], in which positives are then set to 0.

    A row of no numbers has no weight: the loss, which is none either, tells that training has diverged.
    """
    return scores.softmax(1).nan_to_num(0.0).masked_fill(positives, 0.0)


@torch.no_grad()
def draw_negatives(weights: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw one candidate per row of [B, B] by its weight, [B].

    Where a row has no weight left, 1e-5 is added to all and drawn again: a positive may come out then, as published.
    """
    spent = (weights.sum(1) <= 0).any()  # left on its device: reading it would wait
    return torch.multinomial(weights + 1e-5 * spent, 1, generator=generator).squeeze(1)


@dataclass(frozen=True)
class Pairs:
    """Which text is shown with which image: rows of a batch."""

    texts: Tensor  #: [P]
    images: Tensor  #: [P]
    labels: Tensor  #: 1 where they belong together, [P]

    def at(self, rows: slice) -> Pairs:
        """Take some of them."""
        return Pairs(self.texts[rows], self.images[rows], self.labels[rows])


def pair_hard_negatives(hard_images: Tensor, hard_texts: Tensor) -> Pairs:
    """Pair for matching with hard negatives, 3B in this order: true pairs, texts with hard images, hard texts.

    Args:
        hard_images: for each text an image that is not its own, [B]; drawn from text → image.
        hard_texts: for each image a text that is not its own, [B]; drawn from image → text.

    """
    own = torch.arange(len(hard_images), device=hard_images.device)
    labels = torch.cat([torch.ones_like(own), torch.zeros_like(own), torch.zeros_like(own)])
    return Pairs(torch.cat([own, own, hard_texts]), torch.cat([own, hard_images, own]), labels)
