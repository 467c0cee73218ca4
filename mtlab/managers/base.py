"""The one interface of every manager and bridge: what it is given, what it hands back, how it is registered.

Shapes: B examples, N experts, P previous states, L own tokens, M tokens of the other modality, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.config.registry import NoOptions, Registry

Modality = Literal["text", "image"]
MODALITIES: tuple[Modality, ...] = ("text", "image")
Intervention = Callable[[Tensor], Tensor]  #: softmaxed weights → those used instead, both [B|1, N, L|1, D|1]


@dataclass(frozen=True)
class Experts:
    """One modality's uni-modal layers, lowest first: what every manager of that modality draws on."""

    states: Tensor  #: projected into the cross-modal space, embeddings added, [B, N, L, D]
    mask: Tensor | None = None  #: True at real tokens, [B, L]; None: all are real

    _levels: tuple[Tensor, ...] | None = field(default=None, init=False, repr=False, compare=False)
    _standardised: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def at(self, rows: Tensor | slice) -> Experts:
        """Take some examples, by their rows in the batch."""
        return Experts(self.states[rows], None if self.mask is None else self.mask[rows])

    def and_then(self, others: Experts) -> Experts:
        """Put the examples of others behind these; theirs have as many tokens."""
        masks = self.mask, others.mask
        mask = None if masks[0] is None or masks[1] is None else torch.cat([masks[0], masks[1]])
        return Experts(torch.cat([self.states, others.states]), mask)

    @property
    def levels(self) -> tuple[Tensor, ...]:
        """The states one by one, N times [B, L, D].

        Taken apart once for all managers: the gradient of each `states[:, n]` would be as large as all of them.
        """
        kept = self._levels
        if kept is None:
            kept = self.states.unbind(1)
            object.__setattr__(self, "_levels", kept)
        return kept

    @property
    def standardised(self) -> Tensor:
        """Zero mean, unit variance over D, [B, N, L, D].

        Every manager's norm is scale and shift on top of this: computed once for all managers of a modality. (Kept by
        hand, as `cached_property` takes a lock in Python 3.11, which `torch.compile` cannot follow.)
        """
        kept = self._standardised
        if kept is None:
            kept = F.layer_norm(self.states, self.states.shape[-1:])
            object.__setattr__(self, "_standardised", kept)
        return kept


@dataclass(frozen=True)
class Aggregated:
    """What a manager hands to its cross-modal layer."""

    hidden: Tensor  #: [B, L, D]
    weights: Tensor | None = None  #: [B|1, N + P, L|1, D|1], detached: experts first, then previous states
    contributions: Tensor | None = None  #: share of each term's norm, [B, N + P, L], detached; None if not a sum


@dataclass(frozen=True)
class Place:
    """Where a manager stands: what it needs to know to be built."""

    width: int  #: D
    experts: int  #: N
    depth: int  #: cross-modal layers below it, 0 at the first
    layers: int  #: K, cross-modal layers in all
    modality: Modality


class Manager(nn.Module):
    """Aggregates one modality's experts for one cross-modal layer.

    A subclass is one file with one decorator, `@register_manager("name")`, a nested frozen dataclass `Config` with its
    options, and `forward`. Everything else has a default.
    """

    Config: ClassVar[type[Any]] = NoOptions
    weights_sum_to_one: bool = (
        True  #: do the recorded weights of the experts sum to one over N? An option may decide it
    )
    masks_padding: bool = True  #: are real tokens' outputs independent of padded tokens? An option may decide it
    inert: ClassVar[frozenset[str]] = frozenset()  #: parameters that by design may receive no gradient
    not_compilable: ClassVar[str | None] = None  #: why `torch.compile(fullgraph=True)` cannot take it
    layer_weights: ClassVar[frozenset[str]] = frozenset()  #: parameters in the group `train.lr_layer_weights`
    noise_scale: float = 0.0  #: standard deviation of the training noise on the scores; 0: none is drawn

    @classmethod
    def check(cls, config: Any, place: Place) -> None:
        """Refuse at plan time what cannot be built here; raise `UserError` with what would be right."""

    @classmethod
    def experts_used(cls, config: Any, place: Place) -> Sequence[int]:  # noqa: ARG003 - subclasses read it
        """Which offered experts it reads, 1-based from the bottom; `mtlab plan` prints the pairing."""
        return range(1, place.experts + 1)

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """The default space of a sweep, option → distribution in the language of `managers/space.py`.

        Empty where nothing is worth searching, or where the range depends on what the towers offer.
        """
        return {}

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__()
        self.config = config
        self.place = place

    def spared_flops(self, own: int, other: int) -> int:  # noqa: ARG002 - subclasses read them
        """Count the forward FLOPs of an example that the published formula has and `forward` gets around.

        Budgets of published arithmetic (`length: {flops: …}`) count them: they compare formulas, not code.

        Args:
            own: L, this modality's tokens.
            other: M, the other's.

        """
        return 0

    def forward(
        self,
        experts: Experts,
        history: Sequence[Tensor],
        other: Tensor | None,
        other_mask: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        intervene: Intervention | None = None,
        record: bool = False,
    ) -> Aggregated:
        """Aggregate.

        Args:
            experts: this modality's uni-modal layers.
            history: this modality's outputs of the cross-modal layers below, each [B, L, D]; empty at the first.
            other: the other modality's output of the layer below, [B, M, D]; None at the first.
            other_mask: True at real tokens of `other`, [B, M].
            noise: added to the scores in training, [B, N, L, D]; drawn by the encoder.
            intervene: maps the experts' weights to those used instead (uniform, one expert removed, another seed's).
            record: also return weights and contributions.

        """
        raise NotImplementedError


MANAGERS: Registry[Manager] = Registry(
    "manager", ("mtlab.managers", "mtlab.managers.bridges", "mtlab.managers.mixtures"), "mtlab.managers", Manager
)
register_manager = MANAGERS.register
