"""All rules of the contract over one registered manager: which it keeps, which it breaks and how."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from mtlab.contract.case import Case
from mtlab.contract.rule import ContractError, NotApplicable, Rule
from mtlab.contract.rules import RULES
from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS
from mtlab.plugin_errors import describe_error

Progress = Callable[[int, int], None]  #: cases done, cases in all
NOT_TRIED = "not tried: what is broken comes first"  #: a rule's reason where the manager cannot be built or called


@dataclass
class RuleResult:
    """How a manager does by one rule, tried with several options and places."""

    rule: Rule
    cases: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)  #: case, what went wrong in one line
    skipped: list[str] = field(default_factory=list)  #: reasons

    @property
    def verdict(self) -> Literal["kept", "broken", "skipped"]:
        """Broken in any case, else skipped in all, else kept."""
        if self.broken:
            return "broken"
        return "skipped" if self.skipped and len(self.skipped) == self.cases else "kept"


def check_manager(name: str, progress: Progress = lambda *_: None) -> list[RuleResult]:
    """Try a registered manager by every rule that is not slow.

    Raises:
        UserError: no such manager.

    """
    entry = MANAGERS.get(name)
    tried = [(rule, list(rule.cases(entry))) for rule in RULES if not rule.slow]
    total, done, results = sum(len(cases) for _, cases in tried), 0, []
    fit = True  #: can it be built and called?
    for rule, cases in tried:
        result = RuleResult(rule, len(cases))
        results.append(result)
        if not fit:
            result.skipped = [NOT_TRIED] * len(cases)
            continue
        for case_name, case in cases:
            try:
                problem = try_rule(rule, case)
            except NotApplicable as reason:
                problem = None
                result.skipped.append(str(reason))
            except UserError as error:
                problem = str(error)
            if problem is not None:
                result.broken.append((case_name, problem))
            done += 1
            progress(done, total)
        if rule.name == "shapes":
            fit = not any(each.broken for each in results if each.rule.quick)
    return results


def try_rule(rule: Rule, case: Case) -> str | None:
    """Try one rule; return what is wrong in one line, None if it is kept. What the manager prints is dropped.

    Raises:
        NotApplicable: it says nothing of this manager.
        UserError: the manager refuses its options or its place.

    """
    with (
        torch.random.fork_rng(devices=[]),
        torch.enable_grad(),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(action="ignore"),
    ):
        torch.manual_seed(0)
        try:
            rule.check(case)
        except (NotApplicable, UserError):
            raise
        except ContractError as broken:
            return str(broken)
        except Exception as error:  # a plug-in's code may raise anything
            return f"raises {describe_error(error)}"
    return None
