"""The one interface of every manager and bridge: what it is given, what it returns, how it is registered.

Shapes: B examples, N experts, P previous states, L own tokens, M tokens of the other modality, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.config.registry import NoOptions, Registry
from mtlab.errors import UserError
from mtlab.towers.base import TokenGrid

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

    def concatenate(self, others: Experts) -> Experts:
        """Append the examples of others, which have as many tokens."""
        masks = self.mask, others.mask
        mask = None if masks[0] is None or masks[1] is None else torch.cat([masks[0], masks[1]])
        return Experts(torch.cat([self.states, others.states]), mask)

    def without(self, expert: int, fill: float) -> Experts:
        """Remove an expert (1-based): its states are filled at every dimension, with `Manager.neutral` as a rule."""
        states = self.states.clone()
        states[:, expert - 1] = fill
        return Experts(states, self.mask)

    @property
    def levels(self) -> tuple[Tensor, ...]:
        """The states one by one, N times [B, L, D].

        Unbound once for all managers: the gradient of each `states[:, n]` would be as large as all of them.
        """
        levels = self._levels
        if levels is None:
            levels = self.states.unbind(1)
            object.__setattr__(self, "_levels", levels)
        return levels

    @property
    def standardised(self) -> Tensor:
        """Zero mean, unit variance over D, [B, N, L, D].

        The norm of each expert in a mixture is scale and shift on top of this: computed once for all managers of a
        modality. (Cached by hand, as `cached_property` takes a lock in Python 3.11, which `torch.compile` cannot
        follow.)
        """
        standardised = self._standardised
        if standardised is None:
            standardised = F.layer_norm(self.states, self.states.shape[-1:])
            object.__setattr__(self, "_standardised", standardised)
        return standardised


@dataclass(frozen=True)
class Inputs:
    """What a manager is given: one modality's side of one cross-modal layer."""

    experts: Experts  #: this modality's uni-modal layers
    other_experts: Experts | None = None  #: the other's, [B, N', M, D]; None unless `other_experts_used` names some
    history: Sequence[Tensor] = ()  #: this modality's outputs of the cross-modal layers below, P times [B, L, D]
    other: Tensor | None = None  #: the other modality's output of the layer below, [B, M, D]; None at the first
    other_mask: Tensor | None = None  #: True at real tokens of `other`, [B, M]; None: all are real
    noise: Tensor | None = None  #: training noise as `Manager.draw_noise` draws it for the encoder


@dataclass(frozen=True)
class Aggregated:
    """What a manager returns."""

    hidden: Tensor  #: the input of its cross-modal layer, [B, L, D]
    weights: Tensor | None = None  #: [B|1, N + P, L|1, D|1], detached: experts, then the previous states that it weighs
    contributions: Tensor | None = None  #: share of each term's norm, [B, N + P, L], detached; None if not a sum
    by_removal: bool = False  #: contributions are no terms of a sum, see `contributions.measure_removals`
    auxiliary: Tensor | None = None  #: a loss of the manager's own: a scalar, the mean over examples, weighted already


@dataclass(frozen=True)
class Place:
    """Which manager of a model this is: what it needs to know to be built."""

    width: int  #: D
    experts: int  #: N
    depth: int  #: cross-modal layers below it, 0 at the first; K behind the last, see `Manager.mixes_output`
    layers: int  #: K, cross-modal layers in all
    modality: Modality
    other_experts: int  #: N', of the other modality
    class_token: bool = False  #: token 0 summarises the whole input
    other_class_token: bool = False  #: of the other modality
    grid: TokenGrid | None = None  #: how an image's tokens lie; None: one after the other

    @property
    def paired_expert(self) -> int:
        """The expert (1-based) of this layer where the top K are paired with the K layers in order: BridgeTower."""
        return max(1, self.experts - self.layers + min(self.depth, self.layers - 1) + 1)

    @property
    def spread_expert(self) -> int:
        """The expert (1-based) of this layer where the K layers' experts are spread from the lowest to the highest."""
        if self.layers == 1:
            return self.experts
        return 1 + round(min(self.depth, self.layers - 1) * (self.experts - 1) / (self.layers - 1))


class Manager(nn.Module):
    """Aggregates one modality's experts for one cross-modal layer.

    A subclass is one file with one decorator, `@register_manager("name")`, a nested frozen dataclass `Config` with its
    options, and `forward`. Everything else has a default.
    """

    Config: ClassVar[type[Any]] = NoOptions
    weights_sum_to_one: bool = True  #: do the recorded weights of the experts sum to one over N?
    raw_weights: bool = False  #: weights have any sign and sum; interventions get and give them as they are
    masks_padding: bool = True  #: are real tokens' outputs independent of padded tokens?
    independent_examples: bool = True  #: does an example's output not depend on the others of its batch?
    starts_as_identity: bool = False  #: newly built, it hands on the previous state (first: the top expert)
    neutral: ClassVar[float] = 0.0  #: fills the dimensions of a level or previous state that is removed
    inert: frozenset[str] = frozenset()  #: parameters that by design may receive no gradient
    not_compilable: ClassVar[str | None] = None  #: why `torch.compile(fullgraph=True)` cannot take it
    layer_weight_names: ClassVar[frozenset[str]] = frozenset()  #: parameters in the group `train.lr_layer_weights`
    skips: Mapping[int, float] = MappingProxyType({})  #: expert (1-based) → what of its weight is given, not chosen
    exchanges_weights: ClassVar[bool] = True  #: does an intervention give it all that it learned of the experts?
    noise_scale: float = 0.0  #: training noise: deviation of a normal one, half the range of a uniform one; 0: none
    noise_kind: ClassVar[Literal["normal", "uniform"]] = "normal"  #: to be added; uniform: factors around 1

    @classmethod
    def check(cls, config: Any, place: Place) -> None:
        """Refuse at plan time what cannot be built here; raise `UserError` with what would be right."""

    @classmethod
    def experts_used(cls, config: Any, place: Place) -> Sequence[int]:  # noqa: ARG003 - subclasses read it
        """Which offered experts it reads, 1-based from the bottom; `mtlab plan` prints the pairing."""
        return range(1, place.experts + 1)

    @classmethod
    def other_experts_used(cls, config: Any, place: Place) -> Sequence[int]:  # noqa: ARG003 - subclasses read them
        """Which of the other modality's `place.other_experts` it reads, 1-based from the bottom; none by default.

        A manager that names some is given `Inputs.other_experts`, in which these are projected. What no manager of
        either modality reads is not: it stays zero.
        """
        return ()

    @classmethod
    def mixes_output(cls, config: Any, place: Place) -> bool:  # noqa: ARG003 - subclasses read them
        """Is it called once more behind the last cross-modal layer, where `place.depth` is K? Not by default.

        What it returns there is the output of the encoder, in place of the last layer's.
        """
        return False

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """The default space of a sweep, option → distribution as `managers/search_space.py` describes them.

        Empty where nothing is worth searching, or where the range depends on what the towers offer.
        """
        return {}

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__()
        self.config = config
        self.place = place

    @property
    def weighed(self) -> Sequence[int]:
        """The experts (1-based) that its weights choose among; by default all that it reads."""
        return self.experts_used(self.config, self.place)

    def noise_shape(self, batch: int, length: int) -> tuple[int, ...]:
        """Return the shape of the training noise for B examples of L tokens, [B|1, N, L|1, D]."""
        return batch, self.place.experts, length, self.place.width

    def draw_noise(self, batch: int, length: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw training noise of `noise_shape`, on the generator's device (the CPU without one)."""
        shape, device = self.noise_shape(batch, length), "cpu" if generator is None else generator.device
        if self.noise_kind == "normal":
            return self.noise_scale * torch.randn(shape, generator=generator, device=device)
        return 1 + self.noise_scale * (2 * torch.rand(shape, generator=generator, device=device) - 1)

    def skipped_flops(self, own: int, other: int) -> int:  # noqa: ARG002 - subclasses read them
        """Count the forward FLOPs of an example that the published formula has and `forward` avoids.

        Budgets of published arithmetic (`length: {flops: …}`) include them: they compare formulas, not code.

        Args:
            own: L, this modality's tokens.
            other: M, the other's.

        """
        return 0

    def forward(self, inputs: Inputs, *, intervene: Intervention | None = None, record: bool = False) -> Aggregated:
        """Aggregate.

        Args:
            inputs: experts, previous states, the other modality, noise.
            intervene: maps the experts' weights to those used instead (uniform, one expert removed, another seed's).
            record: also return weights and contributions.

        """
        raise NotImplementedError


MANAGERS: Registry[Manager] = Registry(
    "manager",
    (
        "mtlab.managers",
        *(f"mtlab.managers.{room}" for room in ("bridges", "mixtures", "residual", "depthwise", "connectors")),
    ),
    "mtlab.managers",
    Manager,
)
register_manager = MANAGERS.register


def build_manager(cls: type[Manager], config: Any, place: Place) -> Manager:
    """Build a manager on torch's default device.

    On the meta device, where costs are counted, tensors hold no numbers: a manager whose constructor reads some is
    built on the CPU and moved, and so is what a constructor takes from elsewhere, such as numpy.
    """
    if torch.get_default_device().type != "meta":
        return cls(config, place)
    try:
        manager = cls(config, place)
    except Exception:  # whatever a plug-in's code raises without numbers; anything else it raises again
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            manager = cls(config, place)
    return manager.to("meta")


@torch.no_grad()
def stack_weights(experts: Tensor, previous: Tensor | None) -> Tensor:
    """Stack the weights of experts and previous states as `Aggregated.weights` holds them.

    Args:
        experts: [B|1, N, L|1, D|1].
        previous: [B|1, P, L|1, D|1]; None where there are none.

    Returns:
        [B|1, N + P, L|1, D|1], detached

    """
    if previous is None:
        return experts.detach()
    batch, length, width = (max(experts.shape[d], previous.shape[d]) for d in (0, 2, 3))
    return torch.cat([part.detach().expand(batch, -1, length, width) for part in (experts, previous)], 1)


def intervention_factors(weights: Tensor, changed: Tensor) -> Tensor:
    """By what each expert's term is multiplied, so that it has the weight that an intervention gives it.

    For managers whose terms are made together with their weights, which cannot be put in place of others.

    Args:
        weights: of the experts, [B|1, N, L|1, D|1].
        changed: what the intervention made of them, of a shape that broadcasts with theirs.

    Returns:
        [B|1, N, L|1, D|1]; 0 where an expert had no weight: there is no term to scale.

    """
    return torch.where(weights > 0, changed / weights, torch.zeros_like(weights))


def pool_tokens(states: Tensor, mask: Tensor | None, *, class_token: bool = False) -> Tensor:
    """Take the class token of [B, L, D], or else the mean of the real tokens (`mask` [B, L]; None: all are): [B, D]."""
    if class_token:
        return states[:, 0]
    if mask is None:
        return states.mean(1)
    real = mask.unsqueeze(-1).to(states)
    return (states * real).sum(1) / real.sum(1)


def check_heads(heads: int, width: int) -> None:
    """Refuse heads that do not divide the width.

    Raises:
        UserError: with the key `heads`.

    """
    if width % heads:
        allowed = ", ".join(str(number) for number in range(1, width + 1) if width % number == 0)
        raise UserError(f"{heads} heads do not divide width {width}; allowed: {allowed}", key="heads")


# Contributions: of a sum of terms, each term's Euclidean norm over D, divided by the sum of all terms' norms.


@torch.no_grad()
def stack_norms(terms: Sequence[Tensor]) -> Tensor:
    """Measure terms, N times [B, L, D]: Euclidean norms over D, [B, N, L], detached."""
    return torch.stack([torch.linalg.vector_norm(term, dim=-1) for term in terms], 1)


@torch.no_grad()
def share_norms(norms: Tensor, previous: Sequence[Tensor] = ()) -> Tensor:
    """Divide each norm by the sum of all.

    Args:
        norms: Euclidean norms over D of the experts' terms, [B, N, L].
        previous: the previous states' terms, P times [B, L, D].

    Returns:
        [B, N + P, L], detached, summing to one over N + P; alike where all norms are 0.

    """
    if previous:
        norms = torch.cat([norms, stack_norms(previous)], 1)
    whole = norms.sum(1, keepdim=True)
    return torch.where(whole > 0, norms / whole, 1 / norms.shape[1])
