"""The contract is worth something: managers that break one of its rules are caught by that rule."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from managers_misbuilt import MISBUILT, Unmasks
from managers_on_trial import (
    BREACHES,
    KEEPERS,
    Convolves,
    Honest,
    InventsTheOther,
    Leaks,
    Mutters,
    NeedsNoise,
    Noisy,
    NoisyOverweighs,
    NoisyShrinks,
    ReadsTheOther,
    Repeats,
    Rounds,
    Shrinks,
    Unweighs,
)

from mtlab.config.schema import ModelConfig
from mtlab.contract.case import Case, place_at
from mtlab.contract.check import NOT_TRIED, check_manager, try_rule
from mtlab.contract.rule import ContractError
from mtlab.contract.rules import RULES
from mtlab.contract.trial import try_manager
from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS, MODALITIES, Place
from mtlab.model.encoder import places
from mtlab.towers.base import TokenGrid, TowerShape

RULE = {rule.name: rule for rule in RULES}


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    MANAGERS.import_all()
    MANAGERS.register("on_trial")(request.param)
    yield Case(MANAGERS.get("on_trial"))
    del MANAGERS.entries["on_trial"]


OFFERED = TowerShape((8, 8, 8), (1, 2, 3), 3, 4, class_token=False, positions=True)


def stacks(node: dict[str, Any]) -> list[list[Place]]:
    model = ModelConfig(width=8, heads=2, cross_layers=2)
    return [list(places(model, node, modality, OFFERED, OFFERED)) for modality in MODALITIES]


@pytest.mark.parametrize("case", KEEPERS, indirect=True)
@pytest.mark.parametrize(
    "rule", sorted({name for name, _ in [*BREACHES, *MISBUILT]} - {"starts_as_identity", "removed_levels_are_gone"})
)
def test_an_honest_manager_passes(case: Case, rule: str) -> None:
    RULE[rule].check(case)


@pytest.mark.parametrize("case", [Honest, Repeats, Noisy], indirect=True)
def test_an_honest_manager_does_without_any_level(case: Case) -> None:
    RULE["removed_levels_are_gone"].check(case)


@pytest.mark.parametrize(("rule", "case"), [*BREACHES, *MISBUILT], indirect=["case"])
def test_a_breach_is_caught(case: Case, rule: str) -> None:
    with pytest.raises((ContractError, torch._dynamo.exc.Unsupported)):
        RULE[rule].check(case)


@pytest.mark.parametrize("case", [Unmasks], indirect=True)
def test_a_mask_that_is_changed_is_caught(case: Case) -> None:
    with pytest.raises(ContractError, match="changed in place"):
        RULE["inputs_are_left_alone"].check(dataclasses.replace(case, place=place_at(2)))


@pytest.mark.parametrize("case", [Shrinks], indirect=True)
def test_where_it_cannot_be_called_the_other_rules_are_not_tried(case: Case) -> None:
    results = {result.rule.name: result for result in check_manager(case.entry.name)}
    assert [name for name, result in results.items() if result.broken] == ["shapes"]
    assert results["compiles"].skipped[0] == NOT_TRIED
    assert set(results) == {rule.name for rule in RULES if not rule.slow}


@pytest.mark.parametrize("case", [NeedsNoise], indirect=True)
@pytest.mark.parametrize("rule", ["shapes", "shares_sum_to_one", "recording_changes_nothing", "interventions"])
def test_a_noisy_manager_must_do_without_noise(case: Case, rule: str) -> None:
    problem = try_rule(RULE[rule], case)
    assert problem is not None
    assert problem.startswith("raises AssertionError")


@pytest.mark.parametrize("case", [Rounds, Noisy, ReadsTheOther], indirect=True)
def test_a_plan_lets_it_pass(case: Case) -> None:
    try_manager({"name": case.entry.name}, stacks({"name": case.entry.name}))


@pytest.mark.parametrize("case", [Convolves], indirect=True)
def test_an_images_tokens_lie_on_its_grid(case: Case) -> None:
    assert {result.rule.name: result.broken for result in check_manager(case.entry.name) if result.broken} == {}
    vision = dataclasses.replace(OFFERED, grid=TokenGrid(4, 4, prefix=2))
    stack = list(places(ModelConfig(width=8), {"name": case.entry.name}, "image", vision, OFFERED))
    try_manager({"name": case.entry.name}, [stack])


@pytest.mark.parametrize("case", [NoisyShrinks, NoisyOverweighs, NeedsNoise, Unweighs, InventsTheOther], indirect=True)
def test_a_plan_refuses_it(case: Case) -> None:
    with pytest.raises(UserError, match="cross-modal layer 1 of 2"):
        try_manager({"name": case.entry.name}, stacks({"name": case.entry.name}))


@pytest.mark.parametrize("case", [Honest], indirect=True)
def test_the_other_experts_are_not_given_to_a_manager_that_names_none(case: Case) -> None:
    assert all(inputs.other_experts is None for inputs in case.inputs)


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
