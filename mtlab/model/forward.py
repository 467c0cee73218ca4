"""How a model is run on a batch: device and precision, training noise, interventions, one forward pass or several.

Shapes: B examples, A answers, C candidates, S tokens of an answer, N experts, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mtlab.config.schema import Precision
from mtlab.data.batches import Batch
from mtlab.data.inputs import TowerInputs
from mtlab.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from mtlab.managers.base import Experts, Intervention, Modality
from mtlab.model.base import CrossModalOutput, ManagerKey
from mtlab.model.encoder import draw_noise
from mtlab.model.layers import to_full_precision
from mtlab.model.network import ImageInterventions, Masks, VisionLanguageModel
from mtlab.seeding import negatives_generator, noise_generator
from mtlab.towers.base import Features
from mtlab.towers.build import TowerKind

Interventions = Callable[
    [Masks], Mapping[ManagerKey, Intervention]
]  #: masks of a pass → what is done to managers' weights


@dataclass(frozen=True)
class Runtime:
    """Where and how precisely a model is run."""

    device: torch.device
    precision: Precision = "fp32"

    @property
    def bf16(self) -> bool:
        """Is the forward pass under autocast? With bf16_weights, too: it converts what is float32 still."""
        return self.precision != "fp32"

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Return the context of the forward pass."""
        with self.attention_precision(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            yield

    @contextmanager
    def attention_precision(self) -> Iterator[None]:
        """Return the context that sets the precision of attention; the backward pass runs in it, too.

        Attention that no fused kernel can take, such as that of a text tower with dropout on a CPU, is left in bfloat16
        like every other product: torch would turn it into float32. With bf16_weights none is fused on a CPU: torch's
        kernel there is slower than its products one by one.
        """
        reduced = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(reduced or self.bf16)
        try:
            with ExitStack() as stack:
                if self.precision == "bf16_weights" and self.device.type == "cpu":
                    stack.enter_context(sdpa_kernel(SDPBackend.MATH))
                yield
        finally:
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(reduced)


@dataclass(frozen=True)
class RandomKey:
    """Names the random numbers that the forward passes of one micro-batch of training draw."""

    seed: int  #: the run's
    step: int  #: the optimiser step, from 0
    micro: int  #: the micro-batch within it, from 0


@dataclass(frozen=True)
class ForwardContext:
    """A model and how it is run: tasks are trained and evaluated through it, in one forward pass or several.

    Args:
        model: in training or in evaluation mode.
        runtime: where and how precisely.
        micro_step: of training; None: there is no noise.
        intervene: what is done to managers' weights.
        removed: an offered level of a tower, 1-based, that the encoder does without.
        group: the processes that go through the batch together, each with its share.
        auxiliary: managers' auxiliary losses of the passes so far, filled in training.
        reads: what is read of an evaluation; the rest may be left out. primary: the outcomes in the primary metric;
            metrics: all metrics, and the outcomes; all: also its table, such as captions in words.

    """

    model: VisionLanguageModel
    runtime: Runtime
    micro_step: RandomKey | None = None
    intervene: Interventions | None = None
    removed: Mapping[TowerKind, int] = field(default_factory=dict)
    group: ProcessGroup = SINGLE_PROCESS
    auxiliary: list[Tensor] = field(default_factory=list)
    reads: Literal["primary", "metrics", "all"] = "all"

    @property
    def device(self) -> torch.device:
        """The model's."""
        return self.runtime.device

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context of the forward pass, heads included."""
        return self.runtime.autocast()

    def features(self, kind: TowerKind, inputs: TowerInputs) -> Features:
        """Run a tower, unless its levels are given."""
        with self.autocast():
            features = self.model.features(kind, inputs)
        return replace(features, removed=self.removed[kind]) if kind in self.removed else features

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
    ) -> CrossModalOutput:
        """Run the encoder on texts with one image each.

        Args:
            text: of B texts.
            image: of B images.
            name: of the pass, where a batch needs several: noise is drawn anew in each.

        """
        masks: Masks = {"text": text.mask, "image": image.mask}
        with self.autocast():
            fused: CrossModalOutput = self.model.encoder(
                text,
                image,
                noise=self.draw_noise(text, image, name),
                intervene=None if self.intervene is None else self.intervene(masks),
            )
        self._collect(fused)
        return fused

    def answer(self, batch: Batch, *, continuation: Tensor | None = None) -> Tensor:
        """Answer each example of a batch on the model's device → logits [B, A] in float32.

        Args:
            batch: the examples.
            continuation: tokens of an answer to each, [B, S]: what comes out is its log-likelihood, [B, 1].

        """
        with self.autocast():
            text, image = self.features("text", batch.text), self.features("vision", batch.image)
            fused = self.model.fuse(
                text,
                image,
                noise=self.draw_noise(text, image),
                intervene=self.image_interventions(batch),
                continuation=continuation,
            )
            for each in fused:
                self._collect(each)
            return to_full_precision(self.model.task.answer(fused))

    def generate(self, batch: Batch) -> Tensor:
        """Answer each example of a batch on the model's device in tokens of the language model → [B, S]."""
        with self.autocast():
            text, image, intervene = self._prompts(batch)
            return self.model.encoder.generate(text, image, intervene=intervene)

    def score(self, batch: Batch, candidates: Tensor) -> Tensor:
        """Score candidate answers to each example of a batch, tokens [B, C, S] → log-likelihoods [B, C]."""
        with self.autocast():
            text, image, intervene = self._prompts(batch)
            return self.model.encoder.score(text, image, candidates, intervene=intervene)

    def _prompts(self, batch: Batch) -> tuple[Features, Features, Mapping[ManagerKey, Intervention] | None]:
        """Return texts and images for a language model, and what is done to managers' weights as it reads them."""
        text, image = self.features("text", batch.text), self.features("vision", batch.image)
        changed = self.image_interventions(batch)
        return text, image, None if changed is None else changed(0, {"text": text.mask, "image": image.mask})

    def image_interventions(self, batch: Batch) -> ImageInterventions | None:  # noqa: ARG002 - a subclass reads it
        """Return what is done to managers' weights as a batch is answered."""
        intervene = self.intervene
        return None if intervene is None else lambda _, masks: intervene(masks)

    def negatives_generator(self) -> torch.Generator:
        """Return the generator that draws the hard negatives of this micro-step, the same in all processes."""
        at = self.micro_step
        assert at is not None, "negatives are drawn in training alone"
        return negatives_generator(at.seed, at.step, at.micro, device=str(self.device))

    def draw_noise(
        self, text: Features | Experts, image: Features | Experts, name: str = ""
    ) -> Mapping[ManagerKey, Tensor]:
        """Draw the training noise of all managers in one pass; none outside training."""
        at = self.micro_step
        if at is None:
            return {}
        device, rank = str(self.device), self.group.ranks.rank
        generator = partial(noise_generator, at.seed, at.step, at.micro, rank=rank, name=name, device=device)
        return draw_noise(self.model.encoder, text, image, generator)

    def _collect(self, fused: CrossModalOutput) -> None:
        if self.micro_step is not None and fused.auxiliary is not None:
            self.auxiliary.append(fused.auxiliary)
