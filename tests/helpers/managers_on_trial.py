"""Managers on trial: honest ones, and such as break one rule of the contract each."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import nn

from mtlab.config.options import option
from mtlab.managers.base import Aggregated, Inputs, Manager, Place


class Honest(Manager):
    """Keeps the contract: a static mixture without norms."""

    @dataclass(frozen=True)
    class Config:
        flip: bool = option(False, "reverse the order")

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.score = nn.Parameter(torch.zeros(1, place.experts, 1, 1))

    def forward(self, inputs: Inputs, *, intervene: Any = None, **_: Any) -> Aggregated:
        weights = self.score.softmax(1)
        if intervene is not None:
            weights = intervene(weights)
        terms = weights * inputs.experts.states
        norms = terms.detach().norm(dim=-1)
        return Aggregated(terms.sum(1), weights.detach(), norms / norms.sum(1, keepdim=True))


class Leaks(Honest):
    """Lets every token see the mean over all tokens, padded ones too."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        return replace(got, hidden=got.hidden + inputs.experts.states.mean((1, 2)).unsqueeze(1))


class Dilutes(Honest):
    """Lets every token see a sum over real tokens, divided by the number of all."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got, experts = super().forward(inputs, **kwargs), inputs.experts
        states = experts.states if experts.mask is None else experts.states * experts.mask[:, None, :, None]
        return replace(got, hidden=got.hidden + states.mean((1, 2)).unsqueeze(1), contributions=None)


class Convolves(Honest):
    """Convolves an image's tokens over their grid, behind the class token."""

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        width = place.width
        self.filters = nn.Conv2d(width, width, 3, padding=1, groups=width) if place.grid else None

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got, grid = super().forward(inputs, **kwargs), self.place.grid
        if grid is None or self.filters is None:
            return replace(got, contributions=None)
        tokens = got.hidden[:, grid.prefix :].transpose(1, 2).unflatten(2, (grid.rows, grid.columns))
        added = self.filters(tokens).flatten(2).transpose(1, 2)
        return Aggregated(got.hidden + nn.functional.pad(added, (0, 0, grid.prefix, 0)), got.weights)


class Divides(Honest):
    """Divides the states by their length, which is 0 where a level is removed."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got, states = super().forward(inputs, **kwargs), inputs.experts.states
        return replace(got, hidden=got.hidden + (states / states.norm(dim=-1, keepdim=True)).mean(1))


class Remembers(Honest):
    """Adds the levels that it was given in the call before."""

    before: torch.Tensor | None = None

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got, added = super().forward(inputs, **kwargs), self.before
        self.before = inputs.experts.states.sum(1)
        return got if added is None else replace(got, hidden=got.hidden + added)


class Forgets(Honest):
    """Has a parameter that it never uses."""

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.unused = nn.Parameter(torch.ones(1))


class Stalls(Forgets):
    """Multiplies a parameter by zero."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        return replace(got, hidden=got.hidden + 0 * self.unused)


class Gambles(Honest):
    """Draws random numbers in evaluation."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        return replace(got, hidden=got.hidden + torch.randn_like(got.hidden))


class Boasts(Honest):
    """Says that it reads one expert and reads all."""

    @classmethod
    def experts_used(cls, config: Any, place: Place) -> list[int]:  # noqa: ARG003
        return [1]


class Invents(Honest):
    """Says that it reads an expert that is not offered."""

    @classmethod
    def experts_used(cls, config: Any, place: Place) -> list[int]:  # noqa: ARG003
        return [99]


class Ignores(Honest):
    """Takes no notice of interventions."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        return super().forward(inputs, **(kwargs | {"intervene": None}))


class Overweighs(Honest):
    """Records weights that do not sum to one."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        assert got.weights is not None
        return replace(got, weights=2 * got.weights)


class Attaches(Honest):
    """Records weights with their graph."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        return replace(super().forward(inputs, **kwargs), weights=self.score.softmax(1))


class Widens(Honest):
    """Returns float32 whatever it is given."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        return replace(got, hidden=got.hidden.float())


class Breaks(Honest):
    """Breaks the compiled graph."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        torch._dynamo.graph_break()
        return super().forward(inputs, **kwargs)


class Mixes(Honest):
    """Lets every example see the others of its batch."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        return replace(got, hidden=got.hidden - got.hidden.mean(0))


class Overwrites(Honest):
    """Changes what it is given."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        with torch.no_grad():
            inputs.experts.states.mul_(2)
        return super().forward(inputs, **kwargs)


class Repeats(Honest):
    """Names its experts in another order, and one of them twice."""

    @classmethod
    def experts_used(cls, config: Any, place: Place) -> list[int]:  # noqa: ARG003
        return [*range(place.experts, 0, -1), 1]


class ReadsTheOther(Honest):
    """Reads the lowest and the third expert of the other modality, as it says."""

    reads: ClassVar[tuple[int, ...]] = (1, 3)

    @classmethod
    def other_experts_used(cls, config: Any, place: Place) -> list[int]:  # noqa: ARG003
        return [3, 1]

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got, other = super().forward(inputs, **kwargs), inputs.other_experts
        assert other is not None
        states = torch.stack([other.levels[expert - 1] for expert in self.reads], 1)
        real = torch.ones(states.shape[0], states.shape[2]) if other.mask is None else other.mask
        summed = (states * real.to(states.dtype)[:, None, :, None]).sum((1, 2))
        return replace(got, hidden=got.hidden + summed.unsqueeze(1))


class BoastsOfTheOther(ReadsTheOther):
    """Reads an expert of the other modality that it does not name."""

    reads = (1, 2, 3)


class FeignsTheOther(ReadsTheOther):
    """Names an expert of the other modality that it does not read."""

    reads = (3,)


class InventsTheOther(ReadsTheOther):
    """Says that it reads an expert that the other modality does not offer."""

    @classmethod
    def other_experts_used(cls, config: Any, place: Place) -> list[int]:  # noqa: ARG003
        return [place.other_experts + 1]


class OverwritesTheOther(ReadsTheOther):
    """Changes what the other modality's managers are given."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        assert inputs.other_experts is not None
        inputs.other_experts.states.mul_(2)
        return super().forward(inputs, **kwargs)


class Explodes(Honest):
    """Gives numbers that are not finite."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        return replace(got, hidden=got.hidden / 0)


class Shrinks(Honest):
    """Returns another shape."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        return replace(got, hidden=got.hidden[:, :1])


class Punishes(Honest):
    """Has an auxiliary loss of each example."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        return replace(got, auxiliary=got.hidden.square().mean((1, 2)))


class PunishesFairly(Honest):
    """Has an auxiliary loss: the mean over examples of the mean over each one's real tokens."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        squares, mask = got.hidden.square().mean(-1), inputs.experts.mask
        assert mask is not None
        return replace(got, auxiliary=((squares * mask).sum(1) / mask.sum(1)).mean())


class PunishesPadding(Honest):
    """Has an auxiliary loss of padded tokens, too."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        return replace(got, auxiliary=got.hidden.square().mean())


class PunishesTogether(Honest):
    """Has an auxiliary loss of the batch as a whole."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        assert inputs.experts.mask is not None
        return replace(got, auxiliary=got.hidden[inputs.experts.mask].mean(0).square().sum())


class Unweighs(Honest):
    """Records contributions without weights."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        return replace(super().forward(inputs, **kwargs), weights=None)


class Rounds(Honest):
    """Records weights that sum to one within 5e-4."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        got = super().forward(inputs, **kwargs)
        assert got.weights is not None
        return replace(got, weights=1.0005 * got.weights)


class Noisy(Honest):
    """Adds training noise to its output; breaks a rule without noise if a subclass mixes that in."""

    noise_scale = 0.1

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        if inputs.noise is None:
            return super().forward(inputs, **kwargs)
        got = Honest.forward(self, inputs, **kwargs)
        return replace(got, hidden=got.hidden + inputs.noise.sum(1))


class NoisyShrinks(Noisy, Shrinks):
    """Returns another shape, but under noise."""


class NoisyOverweighs(Noisy, Overweighs):
    """Records weights that do not sum to one, but under noise."""


class NoisyAttaches(Noisy, Attaches):
    """Records weights with their graph, but under noise."""


class NoisyIgnores(Noisy, Ignores):
    """Takes no notice of interventions, but under noise."""


class NeedsNoise(Noisy):
    """Cannot be called without noise."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        assert inputs.noise is not None
        return super().forward(inputs, **kwargs)


class Claims(Honest):
    """Says that it starts as the identity."""

    starts_as_identity = True


class Mutters(Honest):
    Config = dataclass(frozen=True)(type("Config", (), {"__annotations__": {"flip": bool}, "flip": False}))


#: rule → a manager that breaks it
BREACHES: list[tuple[str, type[Honest]]] = [
    ("padding_is_not_seen", Leaks),
    ("padding_is_not_seen", Dilutes),
    ("gradients_reach_every_parameter", Forgets),
    ("every_parameter_learns", Stalls),
    ("evaluation_is_deterministic", Gambles),
    ("reads_the_experts_that_it_says", Boasts),
    ("is_built_as_declared", Invents),
    ("interventions", Ignores),
    ("removed_levels_are_gone", Divides),
    ("removed_levels_are_gone", Remembers),
    ("shares_sum_to_one", Overweighs),
    ("recording_changes_nothing", Attaches),
    ("half_precision", Widens),
    ("compiles", Breaks),
    ("examples_do_not_mix", Mixes),
    ("inputs_are_left_alone", Overwrites),
    ("inputs_are_left_alone", OverwritesTheOther),
    ("shapes", Shrinks),
    ("shapes", Punishes),
    ("shapes", Unweighs),
    ("shares_sum_to_one", Rounds),
    ("one_expert", Explodes),
    ("reads_the_experts_that_it_says", BoastsOfTheOther),
    ("reads_the_experts_that_it_says", FeignsTheOther),
    ("is_built_as_declared", InventsTheOther),
    ("padding_is_not_seen", PunishesPadding),
    ("examples_do_not_mix", PunishesTogether),
    ("shapes", NoisyShrinks),
    ("shares_sum_to_one", NoisyOverweighs),
    ("recording_changes_nothing", NoisyAttaches),
    ("interventions", NoisyIgnores),
    ("starts_as_identity", Claims),
]
KEEPERS = [Honest, Repeats, ReadsTheOther, PunishesFairly, Noisy]
