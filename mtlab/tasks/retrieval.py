"""Retrieval: which caption goes with a picture, and which picture with a caption?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch import Tensor

from mtlab.config.options import option
from mtlab.encoder import Fused
from mtlab.tasks.base import Site, Task, register_task
from mtlab.tasks.heads import ContrastiveHead, MatchingHead


@register_task("retrieval")
class Retrieval(Task):
    """Rank captions for pictures and pictures for captions: the contrast finds candidates, matching ranks them.

    Trained by itc and by matching against hard negatives, where captions of one picture are all positives. Source:
    BridgeTower and ManagerTower on Flickr30K; ALBEF (NeurIPS 2021).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options of the heads and of ranking."""

        contrastive_width: int = option(256, "width of the space in which towers are contrasted", minimum=1)
        temperature: float = option(
            0.07, "initial temperature of the contrast, learned from there", minimum=0.001, maximum=0.5
        )
        candidates: int = option(
            128, "of each picture or caption, how many of the best by contrast are ranked by matching", minimum=10
        )

    metrics: ClassVar[Mapping[str, Literal["max", "min"]]] = {"recall": "max"}  #: mean of recalls, see `ranking`
    needs = "captions"

    itm: MatchingHead
    itc: ContrastiveHead

    @classmethod
    def build(cls, config: Config, site: Site) -> Self:
        """Build both heads."""
        task = cls(config, site.width, site.answers)
        task.itm = MatchingHead(site.width)
        task.itc = ContrastiveHead(site.text, site.image, config.contrastive_width, config.temperature)
        return task

    def answer(self, fused: Sequence[Fused]) -> Tensor:
        """Answer whether the pair matches, [B, 2]."""
        matching: Tensor = self.itm(fused[0].pooled)
        return matching
