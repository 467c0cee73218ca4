"""Captioning: describe an image, and tell its own caption from those of other images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mtlab.config.options import option
from mtlab.data.batches import Batch, Loader
from mtlab.model.base import CrossModalOutput
from mtlab.model.forward import ForwardContext
from mtlab.tasks.answers import captions
from mtlab.tasks.base import BatchNeeds, Directions, Task, register_task
from mtlab.tasks.evaluation import Evaluation


@register_task("captioning", version=2)
class Captioning(Task):
    """Describe an image in the words of a language model (`model: mllm`, `answers: generate`).

    The caption's tokens and its end are learnt behind the image and one instruction. Accuracy: how often is an image's
    own caption likelier than its distractors, those of other images; `exact`, on shapes: does the generated one name
    what is there?
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        prompt: str = option("Describe the image.", "the instruction behind every image, in the place of a question")
        candidates: int = option(
            16, "captions of which the likeliest is chosen, one of them the image's own", minimum=2
        )

    one_pass = False  # images, and captions of others for each
    metrics: ClassVar[Directions] = {"accuracy": "max"}
    without_families = frozenset({"exact"})
    needs = "captions"
    answers_by = ("generate",)
    answering = False
    language_model = True

    @classmethod
    def metric_directions(cls, config: Config, provides: Collection[str]) -> Directions:  # noqa: ARG003 - the data decide
        """Accuracy; where the data know what images show, `exact` too."""
        return {**cls.metrics, "exact": "max"} if "objects" in provides else cls.metrics

    @classmethod
    def batch_needs(cls, config: Config) -> BatchNeeds:
        """Captions behind the instruction."""
        return BatchNeeds(caption_prompt=config.prompt)

    @classmethod
    def fusions_to_evaluate(cls, config: Config, examples: int) -> int:  # noqa: ARG003 - of any
        """Two: image and instruction are read to score candidates and to generate, what is behind them with a cache.

        An image with several captions is read no more often, which is about what candidates' own tokens cost.
        """
        return 2 * examples

    def answer(self, fused: Sequence[CrossModalOutput]) -> Tensor:
        """Return the log-likelihood of a caption, [B, 1]; or without one those of all first tokens, [B, vocabulary]."""
        likelihoods = fused[0].likelihoods
        assert likelihoods is not None, "the encoder generates"
        return likelihoods

    def losses(self, context: ForwardContext, batch: Batch) -> dict[str, Tensor]:
        """Mean negative log-likelihood of the captions, in nats: the sum over the tokens of each and its end."""
        return {"loss": -context.answer(batch, continuation=batch.captions).mean()}

    def evaluate(self, context: ForwardContext, loader: Loader, batch: int, between: Callable[[], None]) -> Evaluation:
        """Score candidates and generate, see `captions`."""
        return captions.evaluate(context, loader, self.config.candidates, batch, between)
