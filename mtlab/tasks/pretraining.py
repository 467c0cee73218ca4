"""Pre-training on captions: masked words, matching, and contrast between towers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from mtlab.config.options import option
from mtlab.data.batches import Batch, Loader, MatchingPairs
from mtlab.data.masking import MaskedTexts
from mtlab.errors import UserError, nearest
from mtlab.managers.base import Experts
from mtlab.model.base import CrossModalOutput
from mtlab.model.forward import ForwardContext
from mtlab.model.layers import to_full_precision
from mtlab.tasks import objectives, pretraining_metrics
from mtlab.tasks.base import BatchNeeds, Directions, ModelShape, PassCounts, Task, register_task
from mtlab.tasks.contrast import (
    HARD_NEGATIVE_PASSES,
    ContrastOptions,
    TowerOutput,
    compare,
    match_hard_negatives,
    run_tower,
)
from mtlab.tasks.evaluation import Evaluation
from mtlab.tasks.heads import ContrastiveHead, MaskedLanguageHead, MatchingHead

OBJECTIVES = ("mlm", "itm", "itc", "itm_itc")
#: Objective → the losses that it is made of.
LOSSES: Mapping[str, tuple[str, ...]] = {"mlm": ("mlm",), "itm": ("itm",), "itc": ("itc",), "itm_itc": ("itm", "itc")}


@register_task("pretraining", version=2)
class Pretraining(Task):
    """Learn from images and their captions: predict masked words, match pairs, contrast the towers.

    Objectives, whose losses are weighted and summed: mlm (masked words, with the image), itm (does the pair match?
    half of the images are another caption's), itc (contrast of the towers' own summaries), itm_itc (itc, and matching
    against negatives that itc finds hard). Source: METER, BridgeTower and ManagerTower, which publish mlm + itm; ALBEF
    (NeurIPS 2021) for the hard negatives.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ContrastOptions):
        """Options of objectives and heads."""

        objectives: Any = option(
            None,  # a list or a mapping here could not be replaced by the other
            f"what is learnt: a list, or objective → weight, of {', '.join(OBJECTIVES)}; null: mlm and itm",
        )
        weights: Literal["used", "ignored"] = option(
            "used", "ignored: an objective of whatever weight counts as it is, as in the published code"
        )
        mask_share: float = option(0.15, "mlm: share of a caption's tokens that is masked", above=0.0, below=1.0)
        whole_words: bool | None = option(
            None, "mlm: mask all pieces of a word or none; null: where the tokeniser marks pieces (BERT), as published"
        )
        captions: Literal["all", "own"] = option(
            "all", "itc, itm_itc: all captions of an image in a batch are right, or each pair's own alone (published)"
        )

        def __post_init__(self) -> None:
            weights = _weights(self.objectives)
            object.__setattr__(self, "objectives", weights)
            if not set(weights) - {"itc"}:
                raise UserError(
                    "trains nothing but the towers: add one of mlm, itm, itm_itc, which reach the cross-modal layers",
                    key="objectives",
                )
            if {"itm_itc"} < set(weights) & {"itm", "itc", "itm_itc"}:
                raise UserError("itm_itc is both itm and itc already: leave these out", key="objectives")

    metrics: ClassVar[Directions] = {
        "accuracy": "max",
        **dict.fromkeys(pretraining_metrics.ACCURACIES.values(), "max"),
        **dict.fromkeys(pretraining_metrics.LOSSES.values(), "min"),
    }
    without_families = frozenset(metrics) - {"accuracy"}
    needs = "captions"
    answering = False

    def __init__(self, config: Config, width: int, answers: int) -> None:
        super().__init__(config, width, answers)
        self.mlm: MaskedLanguageHead | None = None
        self.itm: MatchingHead | None = None
        self.itc: ContrastiveHead | None = None

    @classmethod
    def build(cls, config: Config, shape: ModelShape) -> Self:
        """Build the heads of the objectives.

        Raises:
            UserError: masked words with a text tower without a vocabulary.

        """
        task = cls(config, shape.width, shape.answers)
        names = loss_names(config)
        if "mlm" in names:
            if shape.text.vocabulary is None:
                raise UserError("mlm needs a text tower with a vocabulary", key="objectives")
            task.mlm = MaskedLanguageHead(shape.width, shape.text.vocabulary, shape.norm_eps)
        if "itm" in names:
            task.itm = MatchingHead(shape.width)
        if "itc" in names:
            task.itc = ContrastiveHead(shape.text, shape.image, config.contrastive_width, config.temperature)
        return task

    @classmethod
    def metric_directions(cls, config: Config, provides: object) -> Directions:  # noqa: ARG003 - whatever the data
        """Return mean accuracy over the losses, then accuracy and loss of each."""
        losses = loss_names(config)
        names = {
            "accuracy",
            *(names[one] for names in (pretraining_metrics.ACCURACIES, pretraining_metrics.LOSSES) for one in losses),
        }
        return {name: way for name, way in cls.metrics.items() if name in names}

    @classmethod
    def batch_needs(cls, config: Config) -> BatchNeeds:
        """Return what the objectives need."""
        losses = loss_names(config)
        return BatchNeeds(
            mask_share=config.mask_share if "mlm" in losses else None,
            whole_words=config.whole_words,
            negatives="itm" in losses,
            negatives_in_training="itm" in config.objectives,
            image_ids="itc" in losses,
        )

    @classmethod
    def contrasts(cls, config: Config, batch: int) -> int | None:
        """Pairs of a batch that are contrasted, if any are."""
        return config.contrasted or batch if "itc" in loss_names(config) else None

    @classmethod
    def pass_counts(cls, config: Config) -> PassCounts:
        """Each objective has a fusion of its own; for itm half of the texts are shown with one more image."""
        published = [HARD_NEGATIVE_PASSES if name == "itm_itc" else PassCounts() for name in config.objectives]
        return PassCounts(
            towers=sum(one.towers for one in published),
            fusion=sum(one.fusion for one in published),
            texts=int(set(config.objectives) != {"mlm"}),
            masked_texts=int("mlm" in config.objectives),
            images=1.5 if "itm" in config.objectives else 1.0,
        )

    @classmethod
    def fusions_to_evaluate(cls, config: Config, examples: int) -> int:
        """Count one for each loss but the contrast, which needs none."""
        return examples * len({*loss_names(config)} - {"itc"})

    def answer(self, fused: Sequence[CrossModalOutput]) -> Tensor:
        """Answer whether the pair matches, [B, 2]; without itm, which word each token is, [B, L, V]."""
        if self.itm is not None:
            matching: Tensor = self.itm(fused[0].pooled)
            return matching
        assert self.mlm is not None, "the options demand one of them"
        words: Tensor = self.mlm(fused[0].text)
        return words

    def losses(self, context: ForwardContext, batch: Batch) -> dict[str, Tensor]:
        """Run each objective in a pass of its own; the towers read plain texts and images once for all of them."""
        losses: dict[str, Tensor] = {}
        image = run_tower(context, "image", batch.image)
        if self.mlm is not None and batch.masked is not None and len(batch.masked.positions):
            losses["mlm"] = objectives.classification(
                self.predict_words(context, batch.masked, image.experts), batch.masked.labels
            )
        if self.itm is None and self.itc is None:
            return losses
        text = run_tower(context, "text", batch.text)
        if "itm" in self.config.objectives:
            assert batch.matching is not None, "the task wants them"
            logits = self.match(context, batch.matching, text.experts, image.experts)
            losses["itm"] = objectives.classification(logits, batch.matching.labels)
        if self.itc is not None:
            assert batch.image_ids is not None, "the task wants them"
            losses |= self._contrast(context, text, image, batch.image_ids)
        return losses

    def predict_words(self, context: ForwardContext, masked: MaskedTexts, image: Experts) -> Tensor:
        """Predict the masked words of captions, shown with their images → logits [n, V]."""
        assert self.mlm is not None, "the objectives have no such loss"
        text = context.experts("text", context.features("text", masked.inputs))
        with context.autocast():
            states = context.fuse(text, image, name="masked words").text
            words: Tensor = self.mlm(states.flatten(0, 1)[masked.positions])
        return to_full_precision(words)

    def match(self, context: ForwardContext, matching: MatchingPairs, text: Experts, image: Experts) -> Tensor:
        """Match captions with the images that they are shown with → logits [B, 2]."""
        assert self.itm is not None, "the objectives have no such loss"
        if matching.negatives is not None:
            image = image.concatenate(context.experts("image", context.features("vision", matching.negatives)))
        with context.autocast():
            fused = context.fuse(text, image.at(matching.image_index), name="matching")
            logits: Tensor = self.itm(fused.pooled)
        return logits

    def _contrast(
        self, context: ForwardContext, text: TowerOutput, image: TowerOutput, identities: Tensor
    ) -> dict[str, Tensor]:
        assert self.itc is not None, "the objectives have no such loss"
        identities = context.group.all_gather(identities)
        if self.config.captions == "own":
            identities = torch.arange(len(identities), device=identities.device)
        positives = objectives.same_image(identities)
        scores = compare(context, self.itc, text.features, image.features)
        losses = {"itc": objectives.contrastive(scores, positives)}
        if "itm_itc" in self.config.objectives:
            assert self.itm is not None, "itm_itc needs it"
            losses["itm"] = match_hard_negatives(context, self.itm, text, image, scores, positives)
        return losses

    def loss_counts(self, batch: Batch) -> dict[str, int]:
        """Count masked tokens; else pairs."""
        masked = {} if batch.masked is None else {"mlm": len(batch.masked.positions)}
        return {loss: len(batch) for loss in loss_names(self.config) if loss != "mlm"} | masked

    def loss_weights(self) -> Mapping[str, float]:
        """Weigh each loss as its objective, unless weights are to be ignored."""
        if self.config.weights == "ignored":
            return {}
        return {loss: weight for name, weight in self.config.objectives.items() for loss in LOSSES[name]}

    def evaluate(self, context: ForwardContext, loader: Loader, batch: int, between: Callable[[], None]) -> Evaluation:
        """Evaluate each caption with its image, see `pretraining_metrics`."""
        return pretraining_metrics.evaluate(context, self, loader, batch, between)


def loss_names(config: Pretraining.Config) -> tuple[str, ...]:
    """Return the losses of the objectives."""
    return tuple(dict.fromkeys(loss for name in OBJECTIVES if name in config.objectives for loss in LOSSES[name]))


def _weights(given: Any) -> dict[str, float]:
    """Read objectives as name → weight.

    Raises:
        UserError: a name or weight is wrong; its key is `objectives`.

    """
    given = ["mlm", "itm"] if given is None else given
    if isinstance(given, list | tuple) and all(isinstance(name, str) for name in given):
        given = dict.fromkeys(given, 1.0)
    if not isinstance(given, Mapping):
        raise UserError(f"expected a list, or objective → weight, found {given!r}", key="objectives")
    for name, weight in given.items():
        if name not in OBJECTIVES:
            raise UserError(
                f"{name!r} is not one of {', '.join(OBJECTIVES)}; {nearest(str(name), OBJECTIVES)}", key="objectives"
            )
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise UserError(
                f"{name}: {weight!r} is no weight (above 0; leave out what is not learnt)", key="objectives"
            )
    return {name: float(given[name]) for name in OBJECTIVES if name in given}
