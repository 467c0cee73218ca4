"""The language of search spaces, and that the managers' spaces are in it."""

from typing import Any

import pytest

from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS
from mtlab.managers.search_space import corners

SPACE = {
    "temperature": {"float": [0.1, 2.0], "log": True},
    "heads": {"int": [1, 8], "step": 1},
    "weight": {"choice": ["scalar", "vector"]},
}


def test_corners() -> None:
    assert list(corners(SPACE)) == [
        {"temperature": 0.1},
        {"temperature": 2.0},
        {"heads": 1},
        {"heads": 8},
        {"weight": "scalar"},
        {"weight": "vector"},
    ]


@pytest.mark.parametrize(
    ("distribution", "told"),
    [
        ({}, "one of float, int, choice"),
        ({"float": [0, 1], "int": [0, 1]}, "one of float, int, choice"),
        ([1, 2], "one of float, int, choice"),
        ({"float": [2.0, 1.0]}, "a lower and a higher bound"),
        ({"float": [0.0, float("inf")]}, "a lower and a higher bound"),
        ({"int": [1, 2.5]}, "a lower and a higher bound"),
        ({"int": [1]}, "a lower and a higher bound"),
        ({"float": [0.0, 1.0], "log": True}, "bounds above 0"),
        ({"int": [1, 8], "step": 0}, "step"),
        ({"choice": []}, "expected a list"),
        ({"choice": [1, 2], "log": True}, "choice takes no log"),
    ],
)
def test_what_is_no_distribution(distribution: Any, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        list(corners({"option": distribution}))
    assert caught.value.key == "option"


def test_every_manager_with_options_of_its_own_says_what_to_search() -> None:
    without = {entry.name for entry in MANAGERS if entry.is_builtin and not entry.cls.search_space()}
    # nothing, or which experts
    assert without == {"mean", "last", "bridge", "bridge_product", "dense_connector", "spread_sum"}
