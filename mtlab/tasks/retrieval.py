"""Retrieval: which caption goes with an image, and which image with a caption?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from mtlab.config.options import option
from mtlab.data.base import Example
from mtlab.data.batches import Batch, Loader
from mtlab.model.base import CrossModalOutput
from mtlab.model.forward import ForwardContext
from mtlab.tasks import objectives
from mtlab.tasks.base import BatchNeeds, Directions, ModelShape, PassCounts, Task, register_task
from mtlab.tasks.contrast import HARD_NEGATIVE_PASSES, ContrastOptions, compare, match_hard_negatives, run_tower
from mtlab.tasks.evaluation import Evaluation
from mtlab.tasks.heads import ContrastiveHead, MatchingHead
from mtlab.tasks.ranking import recall


@register_task("retrieval")
class Retrieval(Task):
    """Rank captions for images and images for captions: the contrast finds candidates, matching ranks them.

    Trained by itc and by matching against hard negatives, where captions of one image are all positives. The metric
    is recall: how often what belongs together is among the first 1, 5 and 10, in both directions; an outcome is that of
    an image and its captions. `contrast_recall` is the same without matching: the rest is what matching adds. Source:
    BridgeTower and ManagerTower on Flickr30K; ALBEF (NeurIPS 2021).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ContrastOptions):
        """Options of the heads and of ranking."""

        candidates: int = option(
            128,
            "ranked by matching: pairs of which either is among so many that the contrast finds nearest to the other",
            minimum=10,
        )

    one_pass = False  # texts, images, and pairs of them
    metrics: ClassVar[Directions] = dict.fromkeys(("recall", *recall.RECALLS, recall.BY_CONTRAST), "max")
    without_families = frozenset({*recall.RECALLS, recall.BY_CONTRAST})
    needs = "captions"
    answering = False

    itm: MatchingHead
    itc: ContrastiveHead

    @classmethod
    def build(cls, config: Config, shape: ModelShape) -> Self:
        """Build both heads."""
        task = cls(config, shape.width, shape.answers)
        task.itm = MatchingHead(shape.width)
        task.itc = ContrastiveHead(shape.text, shape.image, config.contrastive_width, config.temperature)
        return task

    @classmethod
    def families(cls, examples: Sequence[Example]) -> frozenset[str]:  # noqa: ARG003 - whatever the examples
        """Return the two directions."""
        return frozenset((recall.IMAGES, recall.TEXTS))

    @classmethod
    def batch_needs(cls, config: Config) -> BatchNeeds:  # noqa: ARG003 - whatever the options
        """Return that it needs to know which texts have the same image."""
        return BatchNeeds(image_ids=True)

    @classmethod
    def contrasts(cls, config: Config, batch: int) -> int:
        """All pairs of a batch, or as many as the options say."""
        return config.contrasted or batch

    @classmethod
    def pass_counts(cls, config: Config) -> PassCounts:  # noqa: ARG003 - whatever the options
        """A pair, and two with a hard negative."""
        return HARD_NEGATIVE_PASSES

    @classmethod
    def fusions_to_evaluate(cls, config: Config, examples: int) -> int:
        """The candidates of each caption; those of images are among them, for the most part."""
        return examples * min(config.candidates, examples)

    def answer(self, fused: Sequence[CrossModalOutput]) -> Tensor:
        """Answer whether the pair matches, [B, 2]."""
        matching: Tensor = self.itm(fused[0].pooled)
        return matching

    def losses(self, context: ForwardContext, batch: Batch) -> dict[str, Tensor]:
        """Contrast, and matching against hard negatives."""
        assert batch.image_ids is not None, "the task wants them"
        text, image = run_tower(context, "text", batch.text), run_tower(context, "image", batch.image)
        positives = objectives.same_image(context.group.all_gather(batch.image_ids))
        scores = compare(context, self.itc, text.features, image.features)
        return {
            "itc": objectives.contrastive(scores, positives),
            "itm": match_hard_negatives(context, self.itm, text, image, scores, positives),
        }

    def loss_counts(self, batch: Batch) -> dict[str, int]:
        """Pairs."""
        return {"itc": len(batch), "itm": len(batch)}

    def evaluate(self, context: ForwardContext, loader: Loader, batch: int, between: Callable[[], None]) -> Evaluation:
        """Rank the whole split, see `recall`. The loss is that of the contrast, over all its images and captions."""
        return recall.evaluate(context, self.itc, self.itm, loader, self.config.candidates, batch, between)
