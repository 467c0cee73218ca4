"""The trial run that `mtlab plan` makes of a plug-in's manager: the contract's quick rules, before a run can fail.

Only what no run could use is refused here; `mtlab check NAME` tries a manager by all rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtlab.config.nodes import lookup_options, own_options
from mtlab.config.schema import ModelConfig
from mtlab.contract.case import Case
from mtlab.contract.check import try_rule
from mtlab.contract.rules import RULES
from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS, MODALITIES
from mtlab.model.encoder import places
from mtlab.towers.base import TowerShape

_TOLERANCE = 1e-3  #: a plug-in may round: no reason to refuse a study


def try_manager(model: ModelConfig, node: Mapping[str, Any], text: TowerShape, vision: TowerShape) -> None:
    """Try a plug-in's manager at the first and the last of its places; one of ours has been tried in our tests.

    Raises:
        UserError: unknown manager or option; it refuses its options or its place; or it breaks a quick rule: it raises
            something, returns another shape or numbers that are not finite, records weights that do not sum to one
            though it says so, or has a parameter without a gradient that is not listed in `inert`.

    """
    entry, _ = lookup_options(MANAGERS, node, "manager")
    if entry.is_builtin:
        return
    for modality, shape, other in zip(MODALITIES, (text, vision), (vision, text), strict=True):
        offered = list(places(model, node, modality, shape, other))
        for place in [*offered[:1], *offered[1:][-1:]]:
            case = Case(entry, own_options(node), place, tolerance=_TOLERANCE)
            problems = (try_rule(rule, case) for rule in RULES if rule.quick)
            try:
                problem = next((problem for problem in problems if problem is not None), None)
            except UserError as error:
                raise error.at(key="manager") from None
            if problem is not None:
                where = f"{modality}, cross-modal layer {place.depth + 1} of {place.layers}"
                raise UserError(f"manager {entry.name!r} of {entry.origin}, {where}: {problem}", key="manager")
