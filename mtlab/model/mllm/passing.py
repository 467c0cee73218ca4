"""One forward pass: what is asked of it, what is known of its images, and how a manager is called in it.

Shapes: B rows, T tokens of a row, I images in all rows, L tokens of an image, M tokens of a question, N levels, D width
of the language model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from mtlab.managers.base import Aggregated, Experts, Inputs, Intervention, Manager
from mtlab.managers.contributions import measure_removals
from mtlab.model.mllm.tokens import Spans


@dataclass
class Requests:
    """What a caller wants of a forward pass, and what it gave beside its output."""

    question: Tensor | None = None  #: True at the tokens that managers may ask with, [B, T']
    noise: Mapping[int, Tensor] = field(default_factory=dict)  #: decoder layer → its manager's training noise
    intervene: Mapping[int, Intervention] = field(default_factory=dict)  #: by decoder layer
    record: bool = False  #: keep weights and contributions
    recorded: dict[int, Aggregated] = field(default_factory=dict)  #: by decoder layer
    auxiliary: list[Tensor] = field(default_factory=list)  #: the managers' losses
    copied: bool = False  #: a row of the question may stand for several of the batch in turn, as for beams


class TokenGroup(Protocol):
    """Tokens of a batch, one group for each image."""

    @property
    def padding(self) -> Tensor | None:
        """True at real tokens, [I, L]; None where all are real."""

    def gather(self, states: Tensor) -> Tensor:
        """Take states [B, T, D] at the tokens: [I, L, D]."""

    def scatter(self, states: Tensor, values: Tensor) -> Tensor:
        """Return states [B, T, D] with the real ones of `values` [I, L, D] at the tokens, as a new tensor."""


@dataclass
class Pass:
    """A forward pass over rows that hold images."""

    images: TokenGroup
    question: TokenGroup
    experts: Experts  #: levels of the image tokens, [I, N, L, D]
    words: Experts  #: embeddings of the question's tokens as one level, [I, 1, M, D]
    requests: Requests
    history: list[Tensor] = field(default_factory=list)  #: image tokens in front of the layers passed, [I, L, D]

    def inject(self, manager: Manager, layer: int, hidden: Tensor) -> Tensor:
        """Return the states in front of a decoder layer [B, T, D] with those of image tokens by the manager."""
        requests = self.requests
        inputs = self._inputs(manager, hidden, requests.noise.get(layer))
        result: Aggregated = manager(inputs, intervene=requests.intervene.get(layer), record=requests.record)
        if result.auxiliary is not None:
            requests.auxiliary.append(result.auxiliary)
        if requests.record:
            known = result.contributions is not None or layer in requests.intervene
            requests.recorded[layer] = result if known else measure_removals(manager, inputs, result)
        return self.images.scatter(hidden, result.hidden)

    def _inputs(self, manager: Manager, hidden: Tensor, noise: Tensor | None) -> Inputs:
        own = self.images.gather(hidden)
        other_experts = None
        if manager.other_experts_used(manager.config, manager.place):
            other_experts = self.words
        if not manager.place.depth:  # the model's own image tokens are the top expert
            states = torch.cat([self.experts.states[:, :-1], own.unsqueeze(1)], 1)
            return Inputs(Experts(states, self.experts.mask), other_experts, noise=noise)
        self.history.append(own)
        asked = self.question.gather(hidden)
        return Inputs(self.experts, other_experts, tuple(self.history), asked, self.question.padding, noise)


def begin_pass(
    embedded: Tensor,
    levels: Sequence[Tensor],
    images: Spans,
    question: Spans,
    requests: Requests,
    *,
    part: slice = slice(None),
) -> Pass:
    """Gather what all managers of a pass are given.

    Args:
        embedded: the language model's input, [B, T, D].
        levels: of each image, [N, L, D].
        images: their tokens.
        question: the question's tokens, for each image.
        requests: of the caller.
        part: the tokens of an image that take part.

    """
    states = nn.utils.rnn.pad_sequence([level.transpose(0, 1) for level in levels], batch_first=True)
    states = states.transpose(1, 2).to(embedded.dtype)[:, :, part]
    images = Spans(images.rows, images.columns[:, part], images.mask[:, part])
    words = Experts(question.gather(embedded).unsqueeze(1), question.padding)
    return Pass(images, question, Experts(states, images.padding), words, requests)
