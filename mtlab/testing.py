"""The contract that every manager keeps, as tests: subclass, name your manager, run pytest.

    from mtlab.testing import ManagerContract

    class TestMine(ManagerContract):
        manager = "mine"

Each test is a rule of `mtlab.contract.rules`. It runs with the default options, with every other value of each `bool`
or `Literal` option, and with those of `more`, which may suppose N = 3 experts and K = 3 cross-modal layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pytest
import torch

from mtlab.contract.case import Case
from mtlab.contract.rule import NotApplicable, Rule
from mtlab.contract.rules import RULES
from mtlab.managers.base import MANAGERS


class ManagerContract:
    """Subclass as `Test…`, set `manager` to a registered name, and pytest does the rest."""

    manager: ClassVar[str] = ""
    more: ClassVar[Sequence[Mapping[str, Any]]] = ()  #: further options to test with

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each rule over its cases; compiling with other options than the defaults is marked slow."""
        rule: Rule | None = getattr(metafunc.function, "rule", None)
        if rule is None:
            return
        named = list(rule.cases(MANAGERS.get(self.manager), self.more))
        slow = [rule.slow or (rule.name == "compiles" and bool(case.options)) for _, case in named]
        params = [
            pytest.param(case, marks=[pytest.mark.slow] * mark) for (_, case), mark in zip(named, slow, strict=True)
        ]
        metafunc.parametrize("case", params, ids=[name or "once" for name, _ in named])


def _as_test(rule: Rule) -> Callable[[ManagerContract, Case], None]:
    def test(_self: ManagerContract, case: Case) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                rule.check(case)
            except NotApplicable as reason:
                pytest.skip(str(reason))

    test.__name__, test.__doc__ = f"test_{rule.name}", rule.summary
    test.rule = rule  # type: ignore[attr-defined]  # read above
    return test


for _rule in RULES:
    setattr(ManagerContract, f"test_{_rule.name}", _as_test(_rule))
