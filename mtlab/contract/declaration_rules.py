"""The rules of the contract on what a class declares, and on how it is built."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml
from torch import nn

from mtlab.config.check import check_config, to_plain
from mtlab.config.options import option_of
from mtlab.config.yaml import parse
from mtlab.contract.case import Case
from mtlab.contract.rule import ContractError, require, rule
from mtlab.managers.base import Manager
from mtlab.managers.search_space import corners


@rule("manager")
def is_documented(case: Case) -> None:
    """`mtlab list` has something to show for the class and for each option."""
    require(case.entry.summary, "the class needs a docstring: `mtlab list` shows its first line")
    for field in dataclasses.fields(case.entry.config):
        require(option_of(field).help, f"option {field.name} needs a help line")


@rule("manager")
def search_space_holds_options(case: Case) -> None:
    """What the class would have searched are options of its own, and their ends are values that they take."""
    space = case.entry.cls.search_space()
    unknown = set(space) - {field.name for field in dataclasses.fields(case.entry.config)}
    require(not unknown, f"search_space names {', '.join(sorted(unknown))}, which Config does not have")
    for corner in corners(space):
        check_config(case.entry.config, corner)


@rule("options")
def options_survive_yaml(case: Case) -> None:
    """Written to YAML and read back, the options are the same."""
    written = yaml.safe_dump({"options": to_plain(case.config)})
    read = parse(written, Path("contract.yaml")).data["options"]
    require(check_config(case.entry.config, read) == case.config, f"{to_plain(case.config)} was read back as {read}")


@rule(quick=True)
def is_built_as_declared(case: Case) -> None:
    """It is built by `Manager.__init__`; `experts_used` and `other_experts_used` name offered experts."""
    cls, place = case.entry.cls, case.place
    for name, used, offered in (
        ("experts_used", cls.experts_used(case.config, place), place.experts),
        ("other_experts_used", cls.other_experts_used(case.config, place), place.other_experts),
    ):
        wrong = [expert for expert in used if expert not in range(1, offered + 1)]
        require(not wrong, f"{name} names {wrong} (expected numbers from 1 to {offered})")
    own = getattr(case.manager, "place", None)
    require(own is case.place, "the constructor must call super().__init__(config, place)")
    _require_registered(case.manager)


def _require_registered(manager: Manager) -> None:
    """Refuse parameters and modules in lists and mappings, which torch does not see."""
    registered = {id(part) for part in (*manager.modules(), *manager.parameters())}
    for module in manager.modules():
        for name, value in vars(module).items():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
            parts = [part for part in held if isinstance(part, nn.Module | nn.Parameter) and id(part) not in registered]
            if parts and name not in ("_parameters", "_modules"):
                kind = "Module" if isinstance(parts[0], nn.Module) else "Parameter"
                better = f"nn.{kind}{'Dict' if isinstance(value, dict) else 'List'}"
                raise ContractError(
                    f"{name} is a {type(value).__name__}: what is in it is not trained; make it an {better}"
                )


DECLARATION_RULES = (is_documented, search_space_holds_options, options_survive_yaml, is_built_as_declared)
