"""Similarity of managers' outputs between cross-modal layers: cosine and linear CKA.

Shapes: K cross-modal layers, T real tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MOST = 2 * 2**30  #: bytes of the sums for CKA, D² products for each pair of layers; where they are more, it is left out


class LayerSimilarity:
    """Accumulates over batches the sums that cosine and CKA need.

    Args:
        most: bytes that the sums for CKA may take: in a language model with a manager in front of each of its many wide
            layers, they would not fit into memory.

    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.tokens = 0
        self.cosines = torch.zeros(())
        self.shift = torch.zeros(())
        self.sums = torch.zeros(())
        self.products: dict[tuple[int, int], Tensor] = {}

    def add(self, outputs: Tensor) -> None:
        """Add the outputs of all K managers at the same real tokens, float32 [K, T, D]."""
        if not self.tokens:
            self.shift = outputs.mean(1, keepdim=True)  # near the mean of all: sums of squares stay exact
        directions = F.normalize(outputs, dim=-1)
        self.cosines = self.cosines + torch.einsum("itd,jtd->ij", directions, directions).double().cpu()
        self.tokens += outputs.shape[1]
        depths, _, width = outputs.shape
        if depths * (depths + 1) // 2 * width**2 * 8 > self.most:
            return
        centred = outputs - self.shift
        self.sums = self.sums + centred.sum(1, dtype=torch.float64).cpu()
        for i, one in enumerate(centred):
            for j, two in enumerate(centred[i:], i):
                product = (one.T @ two).double().cpu()
                self.products[i, j] = product + self.products.get((i, j), 0.0)

    def cosine(self) -> Tensor:
        """Mean over tokens of the cosine between the outputs of two depths, [K, K]."""
        return (self.cosines / self.tokens).float()

    def cka(self) -> Tensor | None:
        """Linear CKA between the outputs of two depths over all tokens, [K, K]; None where its sums take too much.

        ‖Xᵀ Y‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖) of centred outputs X and Y, Frobenius norms. Source: Kornblith et al., ICML 2019.
        """
        if not self.products:
            return None
        depths = len(self.sums)
        squares = torch.zeros(depths, depths, dtype=torch.float64)
        for (i, j), product in self.products.items():
            centred = product - torch.outer(self.sums[i], self.sums[j]) / self.tokens
            squares[i, j] = squares[j, i] = centred.square().sum()
        scale = squares.diagonal().sqrt()
        return (squares / torch.outer(scale, scale)).float()
