"""The trial run that `mtlab plan` makes of a plug-in's manager: the contract's quick rules, before a run can fail.

Only what no run could use is refused here; `mtlab check NAME` tries a manager by all rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtlab.config.nodes import lookup_options, own_options
from mtlab.contract.case import Case
from mtlab.contract.check import try_rule
from mtlab.contract.rules import RULES
from mtlab.errors import UserError, place_errors
from mtlab.managers.base import MANAGERS, Place

_TOLERANCE = 1e-3  #: a plug-in may round: no reason to refuse a study


def try_manager(node: Mapping[str, Any], stacks: Sequence[Sequence[Place]]) -> None:
    """Try a plug-in's manager at the first and the last place of each stack; one of ours has been tried in our tests.

    Args:
        node: of the manager, `{name: …, options…}`.
        stacks: the places of each modality, lowest first.

    Raises:
        UserError: unknown manager or option; it refuses its options or its place; or it breaks a quick rule: it raises
            something, returns another shape or numbers that are not finite, records weights that do not sum to one
            though it says so, or has a parameter without a gradient that is not listed in `inert`.

    """
    entry, _ = lookup_options(MANAGERS, node, "manager")
    if entry.is_builtin:
        return
    for offered in stacks:
        for place in [*offered[:1], *offered[1:][-1:]]:
            case = Case(entry, own_options(node), place, tolerance=_TOLERANCE)
            problems = (try_rule(rule, case) for rule in RULES if rule.quick)
            with place_errors(key="manager"):
                problem = next((problem for problem in problems if problem is not None), None)
            if problem is not None:
                where = f"{place.modality}, cross-modal layer {place.depth + 1} of {place.layers}"
                raise UserError(f"manager {entry.name!r} of {entry.origin}, {where}: {problem}", key="manager")
