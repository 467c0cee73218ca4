"""Contrast of all texts of a split with all its images, a block of rows at a time.

Shapes: I images, T texts, Q queries, O others, d width of the contrastive space.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CELLS = 2**24  #: similarities that are held at once


@dataclass(frozen=True)
class SplitContrast:
    """The contrast of a whole split, in nats, as if it were one batch of training."""

    of_texts: Tensor  #: of each text against all images, [T]
    of_images: Tensor  #: of each image against all texts, those that belong to it sharing the target evenly, [I]

    @property
    def loss(self) -> float:
        """Mean of both ways."""
        return float((self.of_texts.double().mean() + self.of_images.double().mean()) / 2)


def topk_neighbours(queries: Tensor, others: Tensor, count: int) -> Tensor:
    """Find the nearest others of each query: unit vectors [Q, d] and [O, d] → int64 [Q, min(count, O)]."""
    indices = [
        (queries[rows] @ others.T).topk(min(count, len(others)), dim=1).indices for rows in _rows(queries, others)
    ]
    return torch.cat(indices)


def contrast_split(text: Tensor, image: Tensor, image_of: Tensor, temperature: Tensor) -> SplitContrast:
    """Contrast all texts with all images.

    Args:
        text: unit vectors, [T, d].
        image: unit vectors, [I, d].
        image_of: number of each text's image, [T].
        temperature: of the contrast.

    """
    own = torch.cat([(text[rows] * image[image_of[rows]]).sum(1) for rows in _rows(text, text)]) / temperature  # [T]
    of_texts = _log_sums(text, image, temperature) - own
    counts = torch.bincount(image_of, minlength=len(image))
    mean_own = torch.zeros_like(counts, dtype=own.dtype).index_add(0, image_of, own) / counts
    return SplitContrast(of_texts, _log_sums(image, text, temperature) - mean_own)


def _log_sums(queries: Tensor, others: Tensor, temperature: Tensor) -> Tensor:
    parts = [(queries[rows] @ others.T).div_(temperature).logsumexp(1) for rows in _rows(queries, others)]
    return torch.cat(parts)


def _rows(queries: Tensor, others: Tensor) -> Iterator[slice]:
    size = max(1, CELLS // len(others))
    return (slice(start, start + size) for start in range(0, len(queries), size))
