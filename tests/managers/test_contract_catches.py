"""The contract is worth something: managers that break one of its rules are caught by that rule."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

from mtlab.config.options import option
from mtlab.contract.case import Case
from mtlab.contract.check import check_manager
from mtlab.contract.rule import ContractError
from mtlab.contract.rules import RULES
from mtlab.managers.base import MANAGERS, Aggregated, Inputs, Manager, Place

RULE = {rule.name: rule for rule in RULES}


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


class OverwritesTheOther(Honest):
    """Changes what the other modality's managers are given."""

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
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


class Mutters(Honest):
    Config = dataclass(frozen=True)(type("Config", (), {"__annotations__": {"flip": bool}, "flip": False}))


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    MANAGERS.import_all()
    MANAGERS.register("on_trial")(request.param)
    yield Case(MANAGERS.get("on_trial"))
    del MANAGERS.entries["on_trial"]


BREACHES: list[tuple[str, type[Honest]]] = [
    ("padding_is_not_seen", Leaks),
    ("gradients_reach_every_parameter", Forgets),
    ("every_parameter_learns", Stalls),
    ("evaluation_is_deterministic", Gambles),
    ("reads_the_experts_that_it_says", Boasts),
    ("is_built_as_declared", Invents),
    ("interventions", Ignores),
    ("shares_sum_to_one", Overweighs),
    ("recording_changes_nothing", Attaches),
    ("half_precision", Widens),
    ("compiles", Breaks),
    ("examples_do_not_mix", Mixes),
    ("inputs_are_left_alone", Overwrites),
    ("inputs_are_left_alone", OverwritesTheOther),
    ("shapes", Shrinks),
    ("shapes", Punishes),
    ("one_expert", Explodes),
]


@pytest.mark.parametrize("case", [Honest], indirect=True)
@pytest.mark.parametrize("rule", sorted({name for name, _ in BREACHES}))
def test_an_honest_manager_passes(case: Case, rule: str) -> None:
    RULE[rule].check(case)


@pytest.mark.parametrize(("rule", "case"), BREACHES, indirect=["case"])
def test_a_breach_is_caught(case: Case, rule: str) -> None:
    with pytest.raises((ContractError, torch._dynamo.exc.Unsupported)):
        RULE[rule].check(case)


@pytest.mark.parametrize("case", [Mutters], indirect=True)
def test_an_option_without_help_is_caught(case: Case) -> None:
    with pytest.raises(ContractError, match="flip needs a help line"):
        RULE["is_documented"].check(case)


@pytest.mark.parametrize("case", [Leaks], indirect=True)
def test_what_is_broken_is_told_case_by_case(case: Case) -> None:
    results = {result.rule.name: result for result in check_manager(case.entry.name)}
    assert set(results) == {rule.name for rule in RULES if not rule.slow}
    leaked = results["padding_is_not_seen"]
    assert [where for where, _ in leaked.broken] == ["defaults-0", "defaults-2", "flip=True-0", "flip=True-2"]
    assert results["noise_reaches_the_output"].skipped[0] == "asks for no noise"
    assert results["shapes"].verdict == "kept"
