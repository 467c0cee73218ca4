"""Reasoning over pairs of images: is a sentence true of both together?"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from mtlab.config.options import option
from mtlab.tasks.base import register_task
from mtlab.tasks.classification import Classification
from mtlab.tasks.heads import classifier


@register_task("reasoning")
class Reasoning(Classification):
    """Classify whether a sentence is true of two images together (NLVR²); cross-entropy.

    The sentence is fused with each image by the same encoder, the second under a token type of its own; the head
    sees both pooled features side by side. A language model reads both images in one prompt. Source: the NLVR² head of
    METER, BridgeTower and ManagerTower.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options of the head."""

        head_scale: float = option(1.0, "inner width of the head, in pooled widths 2D of one image", above=0.0)
        dropout: float = option(
            0.0, "dropout before the head (published: 0.1 for BridgeTower, 0 for ManagerTower)", minimum=0.0, below=1.0
        )

    needs = "pairs of images"
    images = 2
    classes = ("false", "true")

    def __init__(self, config: Config, width: int, answers: int) -> None:
        super().__init__(config, width, answers)
        inner = max(1, int(2 * width * config.head_scale))
        self.dropout = nn.Dropout(config.dropout)
        self.head = classifier(4 * width, inner, answers)

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features of both images, the first before the second, [B, 4D] → logits [B, 2]."""
        return super().forward(self.dropout(pooled))
