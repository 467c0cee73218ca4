"""Pre-training on captions: masked words, matching, and contrast between towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch import Tensor

from mtlab.config.options import option
from mtlab.encoder import Fused
from mtlab.errors import UserError
from mtlab.tasks.base import Site, Task, register_task
from mtlab.tasks.heads import ContrastiveHead, MaskedLanguageHead, MatchingHead

OBJECTIVES = ("mlm", "itm", "itc", "itm_itc")


@register_task("pretraining")
class Pretraining(Task):
    """Learn from pictures and their captions: predict masked words, tell true pairs from others, draw pairs together.

    Objectives, each in a forward pass of its own, their losses summed: mlm (masked words, with the picture), itm
    (does the pair match? half of the pictures are others), itc (contrast of the towers' own summaries), itm_itc
    (itc, and matching against negatives that itc finds hard). Source: METER, BridgeTower and ManagerTower, which
    publish mlm + itm; ALBEF (NeurIPS 2021) for the hard negatives.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options of objectives and heads."""

        objectives: tuple[str, ...] = option(
            ("mlm", "itm"), f"what is learnt, of {', '.join(OBJECTIVES)}", choices=OBJECTIVES
        )
        contrastive_width: int = option(256, "width of the space in which towers are contrasted", minimum=1)
        temperature: float = option(
            0.07, "initial temperature of the contrast, learned from there", minimum=0.001, maximum=0.5
        )

        def __post_init__(self) -> None:
            if not set(self.objectives) - {"itc"}:
                raise UserError(
                    "trains nothing but the towers: add one of mlm, itm, itm_itc, which reach the cross-modal layers",
                    key="objectives",
                )
            if {"itm_itc"} < set(self.objectives) & {"itm", "itc", "itm_itc"}:
                raise UserError("itm_itc is both itm and itc already: leave these out", key="objectives")

    metrics: ClassVar[Mapping[str, Literal["max", "min"]]] = {"accuracy": "max"}
    needs = "captions"

    def __init__(self, config: Config, width: int, answers: int) -> None:
        super().__init__(config, width, answers)
        self.mlm: MaskedLanguageHead | None = None
        self.itm: MatchingHead | None = None
        self.itc: ContrastiveHead | None = None

    @classmethod
    def build(cls, config: Config, site: Site) -> Self:
        """Build the heads that the objectives ask for.

        Raises:
            UserError: masked words with a text tower that does not tell its vocabulary.

        """
        task = cls(config, site.width, site.answers)
        asked = set(config.objectives)
        if "mlm" in asked:
            if site.text.vocabulary is None:
                raise UserError("mlm needs a text tower with a vocabulary", key="objectives")
            task.mlm = MaskedLanguageHead(site.width, site.text.vocabulary, site.norm_eps)
        if asked & {"itm", "itm_itc"}:
            task.itm = MatchingHead(site.width)
        if asked & {"itc", "itm_itc"}:
            task.itc = ContrastiveHead(site.text, site.image, config.contrastive_width, config.temperature)
        return task

    def answer(self, fused: Sequence[Fused]) -> Tensor:
        """Answer whether the pair matches, [B, 2]; where that is not learnt, which word each token is, [B, L, V]."""
        if self.itm is not None:
            matching: Tensor = self.itm(fused[0].pooled)
            return matching
        assert self.mlm is not None, "the options ask for one of them"
        words: Tensor = self.mlm(fused[0].text)
        return words
