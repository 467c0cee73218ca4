"""The contract is worth something: managers that break one of its clauses are caught by the test of that clause."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

from mtlab.config.options import option
from mtlab.managers.base import MANAGERS, Aggregated, Experts, Manager, Place
from mtlab.testing import ManagerContract


class Honest(Manager):
    """Keeps the contract: a static mixture without norms."""

    @dataclass(frozen=True)
    class Config:
        flip: bool = option(False, "reverse the order")

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.score = nn.Parameter(torch.zeros(1, place.experts, 1, 1))

    def forward(self, experts: Experts, *_args: Any, intervene: Any = None, **_kwargs: Any) -> Aggregated:
        weights = self.score.softmax(1)
        if intervene is not None:
            weights = intervene(weights)
        terms = weights * experts.states
        norms = terms.detach().norm(dim=-1)
        return Aggregated(terms.sum(1), weights.detach(), norms / norms.sum(1, keepdim=True))


class Leaks(Honest):
    """Lets every token see the mean over all tokens, padded ones too."""

    def forward(self, experts: Experts, *args: Any, **kwargs: Any) -> Aggregated:
        got = super().forward(experts, *args, **kwargs)
        return replace(got, hidden=got.hidden + experts.states.mean((1, 2)).unsqueeze(1))


class Forgets(Honest):
    """Has a parameter that it never uses."""

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        self.unused = nn.Parameter(torch.ones(1))


class Gambles(Honest):
    """Draws random numbers in evaluation."""

    def forward(self, experts: Experts, *args: Any, **kwargs: Any) -> Aggregated:
        got = super().forward(experts, *args, **kwargs)
        return replace(got, hidden=got.hidden + torch.randn_like(got.hidden))


class Boasts(Honest):
    """Says that it reads one expert and reads all."""

    @classmethod
    def experts_used(cls, config: Any, place: Place) -> list[int]:  # noqa: ARG003
        return [1]


class Ignores(Honest):
    """Takes no notice of interventions."""

    def forward(self, experts: Experts, *args: Any, **kwargs: Any) -> Aggregated:
        return super().forward(experts, *args, **(kwargs | {"intervene": None}))


class Overweighs(Honest):
    """Records weights that do not sum to one."""

    def forward(self, experts: Experts, *args: Any, **kwargs: Any) -> Aggregated:
        got = super().forward(experts, *args, **kwargs)
        assert got.weights is not None
        return replace(got, weights=2 * got.weights)


class Widens(Honest):
    """Hands back float32 whatever it is given."""

    def forward(self, experts: Experts, *args: Any, **kwargs: Any) -> Aggregated:
        got = super().forward(experts, *args, **kwargs)
        return replace(got, hidden=got.hidden.float())


class Breaks(Honest):
    """Breaks the compiled graph."""

    def forward(self, experts: Experts, *args: Any, **kwargs: Any) -> Aggregated:
        torch._dynamo.graph_break()
        return super().forward(experts, *args, **kwargs)


class Mixes(Honest):
    """Lets every example see the others of its batch."""

    def forward(self, experts: Experts, *args: Any, **kwargs: Any) -> Aggregated:
        got = super().forward(experts, *args, **kwargs)
        return replace(got, hidden=got.hidden - got.hidden.mean(0))


class Overwrites(Honest):
    """Changes what it is given."""

    def forward(self, experts: Experts, *args: Any, **kwargs: Any) -> Aggregated:
        with torch.no_grad():
            experts.states.mul_(2)
        return super().forward(experts, *args, **kwargs)


class Explodes(Honest):
    """Gives numbers that are not finite."""

    def forward(self, experts: Experts, *args: Any, **kwargs: Any) -> Aggregated:
        got = super().forward(experts, *args, **kwargs)
        return replace(got, hidden=got.hidden / 0)


class Shrinks(Honest):
    """Hands back another shape."""

    def forward(self, experts: Experts, *args: Any, **kwargs: Any) -> Aggregated:
        got = super().forward(experts, *args, **kwargs)
        return replace(got, hidden=got.hidden[:, :1])


class Mutters(Honest):
    Config = dataclass(frozen=True)(type("Config", (), {"__annotations__": {"flip": bool}, "flip": False}))


@pytest.fixture
def contract(request: pytest.FixtureRequest) -> Iterator[ManagerContract]:
    cls = request.param
    MANAGERS.fill()
    MANAGERS.register("on_trial")(cls)
    case = ManagerContract()
    case.manager = "on_trial"  # type: ignore[misc]
    yield case
    del MANAGERS.entries["on_trial"]


CLAUSES: dict[str, type[Honest]] = {
    "test_padding_is_not_seen": Leaks,
    "test_every_parameter_learns": Forgets,
    "test_evaluation_is_deterministic": Gambles,
    "test_reads_the_experts_that_it_says": Boasts,
    "test_interventions": Ignores,
    "test_shares_sum_to_one": Overweighs,
    "test_half_precision": Widens,
    "test_compiles": Breaks,
    "test_examples_do_not_mix": Mixes,
    "test_inputs_are_left_alone": Overwrites,
    "test_shapes": Shrinks,
    "test_one_expert": Explodes,
}


@pytest.mark.parametrize("contract", [Honest], indirect=True)
@pytest.mark.parametrize("clause", CLAUSES)
def test_an_honest_manager_passes(contract: ManagerContract, clause: str) -> None:
    getattr(contract, clause)({}, 0)


@pytest.mark.parametrize(("clause", "contract"), CLAUSES.items(), indirect=["contract"])
def test_a_breach_is_caught(contract: ManagerContract, clause: str) -> None:
    with pytest.raises((AssertionError, torch._dynamo.exc.Unsupported)):
        getattr(contract, clause)({}, 0)


@pytest.mark.parametrize("contract", [Mutters], indirect=True)
def test_an_option_without_help_is_caught(contract: ManagerContract) -> None:
    with pytest.raises(AssertionError, match="flip needs a help line"):
        contract.test_is_documented()
