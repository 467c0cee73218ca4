"""Ranking captions for pictures and pictures for captions, and how often the right ones come first.

Shapes: I images, T texts, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

UNRANKED = -100.0  #: score of a pair that is no candidate

Match = Callable[[Tensor, Tensor], Tensor]  #: images [P] and texts [P], by number → how well each pair matches, [P]


def candidates_scored(similarity: Tensor, count: int, match: Match) -> tuple[Tensor, Tensor]:
    """Score the best candidates of each image and of each text by a closer look; all other pairs are `UNRANKED`.

    Args:
        similarity: of the contrast, [I, T].
        count: candidates of each image, and of each text.
        match: the closer look: logits of "they belong together", as they are.

    Returns:
        [I, T] for the candidates of images, and [I, T] for those of texts; their larger one ranks. Source: ALBEF
        (NeurIPS 2021), BridgeTower, ManagerTower.

    """
    images, texts = similarity.shape
    of_images = similarity.topk(min(count, texts), dim=1).indices  # [I, k]
    of_texts = similarity.topk(min(count, images), dim=0).indices  # [k, T]
    by_image, by_text = torch.full_like(similarity, UNRANKED), torch.full_like(similarity, UNRANKED)
    for image, chosen in enumerate(of_images):
        by_image[image, chosen] = match(torch.full_like(chosen, image), chosen)
    for text, chosen in enumerate(of_texts.T):
        by_text[chosen, text] = match(chosen, torch.full_like(chosen, text))
    return by_image, by_text


def recalls(scores: Tensor, image_of: Tensor, ranks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Say how often something right is among the first: `tr` texts of an image, `ir` the image of a text.

    Args:
        scores: [I, T].
        image_of: the image that each text belongs to, [T].
        ranks: how many of the first count.

    Returns:
        `ir_r1`, `tr_r1`, … between 0 and 1, their means `ir_mean` and `tr_mean`, and the mean of these, `r_mean`.

    """
    images = torch.arange(len(scores), device=scores.device)
    found: dict[str, float] = {}
    for name, right in (
        ("ir", image_of.unsqueeze(1) == scores.T.argsort(dim=1, descending=True, stable=True)),
        ("tr", image_of[scores.argsort(dim=1, descending=True, stable=True)] == images.unsqueeze(1)),
    ):
        at = {f"{name}_r{rank}": float(right[:, :rank].any(1).float().mean()) for rank in ranks}
        found |= at | {f"{name}_mean": sum(at.values()) / len(at)}
    return found | {"r_mean": (found["ir_mean"] + found["tr_mean"]) / 2}
