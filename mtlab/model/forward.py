"""How a model is run on a batch: device and precision, training noise, interventions, one pass or several.

Shapes: B examples, A answers, N experts, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from mtlab.data.batches import Batch
from mtlab.data.inputs import TowerInputs
from mtlab.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from mtlab.managers.base import MODALITIES, Experts, Intervention, Modality
from mtlab.model.encoder import Fused, Key, draw_noise
from mtlab.model.layers import full
from mtlab.model.network import VisionLanguageModel
from mtlab.seeding import negatives_generator, noise_generator
from mtlab.towers.base import Features
from mtlab.towers.build import TowerKind

Masks = Mapping[Modality, Tensor | None]  #: True at real tokens, [B, L]; None: all are real
Interventions = Callable[[Masks], Mapping[Key, Intervention]]  #: masks of a pass → what is done to managers' weights
Intervene = Callable[[int, Masks], Mapping[Key, Intervention]]  #: the same, and which picture of its text it is over


@dataclass(frozen=True)
class Runtime:
    """Where and how precisely a model is run."""

    device: torch.device
    bf16: bool = False  #: autocast the forward pass

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Make the context in which the forward pass runs."""
        with self.attention(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            yield

    @contextmanager
    def attention(self) -> Iterator[None]:
        """Make the context in which attention is run, and run anew where activations are not kept.

        Attention that no fused kernel can take, such as that of a text tower with dropout on a CPU, is left in bfloat16
        like every other product: torch would turn it into float32.
        """
        reduced = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(reduced or self.bf16)
        try:
            yield
        finally:
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(reduced)


@dataclass(frozen=True)
class MicroStep:
    """A micro-batch of training: it names the random numbers that its passes draw."""

    seed: int  #: the run's
    step: int  #: the optimiser step, from 0
    micro: int  #: the micro-batch within it, from 0


@dataclass(frozen=True)
class ForwardContext:
    """A model and how it is run: what tasks are trained and judged through, in one pass over a batch or in several.

    Args:
        model: in training or in evaluation mode.
        arithmetic: where and how precisely.
        moment: of training; None: there is no noise.
        intervene: what is done to managers' weights.
        edit: what is done to a tower's levels before they enter the encoder.
        group: the processes that go through the batch together, each with its share.

    """

    model: VisionLanguageModel
    runtime: Runtime
    micro_step: MicroStep | None = None
    intervene: Interventions | None = None
    edit: Mapping[TowerKind, Callable[[Features], Features]] = field(default_factory=dict)
    group: ProcessGroup = SINGLE_PROCESS

    @property
    def device(self) -> torch.device:
        """The model's."""
        return self.runtime.device

    def autocast(self) -> AbstractContextManager[None]:
        """Make the context in which the forward pass runs, heads included."""
        return self.runtime.autocast()

    def features(self, kind: TowerKind, given: TowerInputs) -> Features:
        """Run a tower, unless its levels are there already."""
        with self.autocast():
            features = self.model.features(kind, given)
        return self.edit[kind](features) if kind in self.edit else features

    def experts(self, modality: Modality, features: Features) -> Experts:
        """Gate and project a tower's levels once, for several fusions."""
        with self.autocast():
            return self.model.encoder.experts(modality, features)

    def fuse(
        self,
        text: Features | Experts,
        image: Features | Experts,
        *,
        name: str = "",
        image_index: int = 0,
        tokens: tuple[Modality, ...] = MODALITIES,
    ) -> Fused:
        """Run the encoder.

        Args:
            text: of B texts.
            image: of B images.
            name: of the pass, where a batch needs several: noise is drawn anew in each.
            image_index: which of the images that a text goes with these are.
            tokens: modalities whose last states are read token by token, see `CrossModalEncoder.forward`.

        """
        with self.autocast():
            fused: Fused = self.model.encoder(
                text,
                image,
                image_index=image_index,
                noise=self._noise(text, image, name),
                intervene=self._interventions({"text": text.mask, "image": image.mask}),
                tokens=tokens,
            )
        return fused

    def answer(self, batch: Batch) -> Tensor:
        """Answer each example of a batch on the model's device → logits [B, A] in float32."""
        intervening = self.intervening(batch)
        with self.autocast():
            text, image = self.features("text", batch.text), self.features("vision", batch.image)
            noise = self._noise(text, image)
            fused: list[Fused] = [
                self.model.encoder(
                    text,
                    seen,
                    image_index=index,
                    noise={key: drawn[rows] for key, drawn in noise.items()},
                    intervene=intervening(index, {"text": text.mask, "image": seen.mask}),
                    tokens=self.model.task.reads,
                )
                for index, (rows, seen) in enumerate(self.model.split_images(image))
            ]
            return full(self.model.task.answer(fused))

    def intervening(self, batch: Batch) -> Intervene:  # noqa: ARG002 - a subclass reads it
        """Say what is done to managers' weights as a batch is answered."""
        return lambda _, masks: self._interventions(masks)

    def generator(self) -> torch.Generator:
        """Make what draws the hard negatives of this moment of training, the same in all processes."""
        at = self.micro_step
        assert at is not None, "where nothing is learnt, nothing is drawn"
        return negatives_generator(at.seed, at.step, at.micro, device=str(self.device))

    def _noise(self, text: Features | Experts, image: Features | Experts, name: str = "") -> Mapping[Key, Tensor]:
        at = self.micro_step
        if at is None:
            return {}
        drawn_by = partial(
            noise_generator,
            at.seed,
            at.step,
            at.micro,
            rank=self.group.ranks.rank,
            name=name,
            device=str(self.device),
        )
        return draw_noise(self.model.encoder, text, image, drawn_by)

    def _interventions(self, masks: Masks) -> Mapping[Key, Intervention]:
        return {} if self.intervene is None else self.intervene(masks)
