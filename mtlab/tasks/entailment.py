"""Visual entailment: does an image entail a sentence?"""

from __future__ import annotations

from dataclasses import dataclass

from mtlab.tasks.base import register_task
from mtlab.tasks.classification import Classification, HeadOptions
from mtlab.tasks.heads import classifier


@register_task("entailment")
class Entailment(Classification):
    """Classify whether an image contradicts a sentence, is neutral to it, or entails it (SNLI-VE).

    Cross-entropy; the image stands in for the premise. Source: the SNLI-VE head of METER, BridgeTower and
    ManagerTower.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(HeadOptions):
        """Options of the head."""

    classes = ("contradiction", "neutral", "entailment")

    def __init__(self, config: Config, width: int, answers: int) -> None:
        super().__init__(config, width, answers)
        pooled = 2 * width
        self.head = classifier(pooled, max(1, round(pooled * config.head_scale)), answers, config.head_layers)
