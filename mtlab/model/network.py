"""The model: towers, cross-modal encoder and task in one, built from a run's configuration.

Shapes: B examples, L text tokens, M image tokens, D width of the cross-modal layers, A answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mtlab.attention import Attention
from mtlab.errors import place_errors
from mtlab.managers.base import Intervention, Modality
from mtlab.model.base import CrossModalOutput, Encoder, ManagerKey
from mtlab.towers.base import Features, Tower
from mtlab.towers.build import KINDS, TowerKind

Masks = Mapping[Modality, Tensor | None]  #: True at real tokens, [B, L]; None: all are real
#: Index of an image among those of its text, and the masks of a pass → what is done to managers' weights.
ImageInterventions = Callable[[int, Masks], Mapping[ManagerKey, Intervention]]


@dataclass(frozen=True)
class ModelOutput:
    """What the whole model returns."""

    logits: Tensor  #: [B, A]
    fused: CrossModalOutput  #: of the first image, where a text goes with several


class Head(nn.Module):
    """The heads on the encoder's output: every task is one, see `mtlab.tasks.base.Task`."""

    images: ClassVar[int] = 1  #: images that a text goes with: a batch holds all first ones, then all second ones

    def answer(self, fused: Sequence[CrossModalOutput]) -> Tensor:
        """Answer from a text and each of its images → logits [B, A]."""
        raise NotImplementedError


class VisionLanguageModel(nn.Module):
    """Towers, cross-modal encoder and task in one. A tower whose levels come from a cache may be absent.

    Args:
        encoder: the cross-modal encoder.
        task: the head.
        text_tower: runs on prepared texts; None if only `Features` are given.
        vision_tower: runs on prepared images; None if only `Features` are given.

    """

    def __init__(
        self,
        encoder: Encoder,
        task: Head,
        text_tower: Tower[Any] | None = None,
        vision_tower: Tower[Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.task = task
        given = {"text": text_tower, "vision": vision_tower}
        self.towers = nn.ModuleDict({kind: tower for kind, tower in given.items() if tower is not None})

    @property
    def running_towers(self) -> dict[TowerKind, Tower[Any]]:
        """The towers that the model holds."""
        return {kind: cast("Tower[Any]", self.towers[kind]) for kind in KINDS if kind in self.towers}

    def recompute(self) -> None:
        """Compute activations of trained towers and cross-modal layers again in the backward pass, not to keep them.

        Results stay the same: dropout draws the same numbers again, and batch norms take no statistics again.

        Raises:
            UserError: a trained tower cannot.

        """
        self.encoder.recompute = True
        for module in self.encoder.modules():
            if isinstance(module, Attention):
                module.recomputed = True
        for tower in self.running_towers.values():
            if tower.config.trainable:
                with place_errors(key="train.checkpoint_activations"):
                    tower.enable_gradient_checkpointing()
                for module in tower.modules():
                    if isinstance(module, _BatchNorm):
                        module.register_forward_pre_hook(partial(_take_statistics_once, module.momentum))

    def forward(
        self,
        text: Features | Sequence[Tensor],
        vision: Features | Sequence[Tensor],
        *,
        noise: Mapping[ManagerKey, Tensor] | None = None,
        intervene: Mapping[ManagerKey, Intervention] | None = None,
        record: bool = False,
        continuation: Tensor | None = None,
    ) -> ModelOutput:
        """Answer from the towers' levels or what their `prepare` gives; the rest as of `fuse`.

        Where a text goes with several images (`Task.images`), `vision` holds the first ones of all B texts, then
        the second ones, and so on; so does `noise`.
        """
        words, images = self.features("text", text), self.features("vision", vision)
        changed = None if intervene is None else lambda *_: intervene
        fused = self.fuse(words, images, noise=noise, intervene=changed, record=record, continuation=continuation)
        return ModelOutput(self.task.answer(fused), fused[0])

    def fuse(
        self,
        text: Features,
        images: Features,
        *,
        noise: Mapping[ManagerKey, Tensor] | None = None,
        intervene: ImageInterventions | None = None,
        record: bool = False,
        continuation: Tensor | None = None,
    ) -> list[CrossModalOutput]:
        """Fuse each text with each of its images; arguments as of `forward`, interventions by image.

        `continuation` holds tokens of answers behind the texts, [B, S], of which a language model gives the likelihood.
        """
        each = list(self.split_images(images))
        return self.encoder.fuse_images(
            text,
            [image for _, image in each],
            noise=[
                {key: drawn if len(drawn) == 1 else drawn[rows] for key, drawn in (noise or {}).items()}
                for rows, _ in each
            ],
            intervene=[
                None if intervene is None else intervene(index, {"text": text.mask, "image": image.mask})
                for index, (_, image) in enumerate(each)
            ],
            record=record,
            continuation=continuation,
        )

    def split_images(self, images: Features) -> Iterator[tuple[slice, Features]]:
        """Yield the first images of all texts, with their rows, then the second ones, and so on."""
        texts = len(images.levels[0]) // self.task.images
        for index in range(self.task.images):
            rows = slice(index * texts, (index + 1) * texts)
            yield rows, images.at(rows) if self.task.images > 1 else images

    def features(self, kind: str, given: Features | Sequence[Tensor]) -> Features:
        """Run a tower where only prepared input is given; one without trained parameters builds no graph."""
        if isinstance(given, Features):
            return given
        tower = self.towers[kind]
        with torch.set_grad_enabled(torch.is_grad_enabled() and any(p.requires_grad for p in tower.parameters())):
            features: Features = tower(*given)
        return features


def _take_statistics_once(momentum: float | None, norm: _BatchNorm, _: object) -> None:
    """Let a batch norm take the statistics of a batch in the forward pass, not again as backward computes it anew."""
    anew = torch._C._current_graph_task_id() != -1
    norm.momentum = 0.0 if anew else momentum
    if anew and norm.num_batches_tracked is not None:
        norm.num_batches_tracked -= 1
