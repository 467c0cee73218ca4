"""What a rule of the contract is: a plain function over a `Case`, and which cases it is tried on.

A rule raises `ContractError` with what is wrong, or `NotApplicable` with the reason why it says nothing of a manager.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from mtlab.config.check import check_config
from mtlab.config.registry import Entry
from mtlab.contract.case import LAYERS, Case, image_place, option_variants, place_at
from mtlab.errors import UserError
from mtlab.managers.base import Manager
from mtlab.model.encoder import mixes_output


class ContractError(AssertionError):
    """A manager breaks a rule; the message says how, in one line."""


class NotApplicable(Exception):  # noqa: N818 - no error
    """A rule says nothing of a manager; the message says why."""


@dataclass(frozen=True)
class Rule:
    """One rule of the contract."""

    check: Callable[[Case], None]
    per: Literal[
        "manager", "options", "place"
    ]  #: tried once, with each variant of the options, or these at several places
    quick: bool  #: one that `mtlab plan` tries, as no run could do without it
    any_sizes: bool  #: tried with other numbers of experts, which a user's further options need not suit
    slow: bool  #: left to the tests

    @property
    def name(self) -> str:
        """The function's."""
        return self.check.__name__

    @property
    def summary(self) -> str:
        """What it says, in one line."""
        return (inspect.getdoc(self.check) or "").partition("\n")[0]

    def cases(self, entry: Entry[Manager], more: Sequence[Mapping[str, Any]] = ()) -> Iterator[tuple[str, Case]]:
        """Go through the cases that it is tried on, with their names, such as `heads=4-2`: options, then place.

        Args:
            entry: the manager.
            more: further options to try it with; they may suppose N = 3 experts and K = 3 cross-modal layers.

        Raises:
            UserError: `more` has options that the manager does not take.

        """
        variants: list[Mapping[str, Any]] = [{}]
        if self.per != "manager":
            variants = [*option_variants(entry.config), *(() if self.any_sizes else more)]
        for options in variants:
            try:
                config = check_config(entry.config, options)
            except UserError:
                if options in more:
                    raise
                continue  # one that goes with others alone
            name = ",".join(f"{key}={value}" for key, value in options.items()) or "defaults"
            if self.per != "place":
                yield ("" if self.per == "manager" else name), Case(entry, options, place_at(0))
                continue
            behind = mixes_output(entry, config, place_at(LAYERS))
            for depth in (0, LAYERS - 1, *((LAYERS,) if behind else ())):
                yield f"{name}-{depth}", Case(entry, options, place_at(depth))
            if not options:
                yield f"{name}-image", Case(entry, options, image_place())


def rule(
    per: Literal["manager", "options", "place"] = "place",
    *,
    quick: bool = False,
    any_sizes: bool = False,
    slow: bool = False,
) -> Callable[[Callable[[Case], None]], Rule]:
    """Make a function a rule; its docstring says what a manager must keep. Arguments as of `Rule`."""
    return lambda check: Rule(check, per, quick, any_sizes, slow)


def require(condition: object, problem: str) -> None:
    """Raise `ContractError` unless a condition holds."""
    if not condition:
        raise ContractError(problem)


def require_close(actual: Any, expected: Any, **tolerance: Any) -> None:
    """Raise `ContractError` unless tensors are close."""
    try:
        torch.testing.assert_close(actual, expected, **tolerance)
    except AssertionError as error:
        lines = str(error).strip().splitlines()
        apart = next((line for line in lines if line.startswith("Greatest absolute difference")), "")
        raise ContractError(f"{lines[0]} {apart}".strip()) from None
