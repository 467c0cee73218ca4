"""The examples in the package's docstrings are right."""

import doctest
import importlib
from pathlib import Path

import pytest

import mtlab

ROOT = Path(mtlab.__file__).parent
NAMES = [
    ".".join(file.relative_to(ROOT.parent).with_suffix("").parts)
    for file in sorted(ROOT.rglob("*.py"))
    if ">>> " in file.read_text()
]


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_right(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed


def test_there_are_examples() -> None:
    assert len(NAMES) > 20


def test_each_rate_of_the_published_grouping_has_an_example() -> None:
    from mtlab.training.optimisation.official_grouping import official_part

    assert all(f"'{part}'" in str(official_part.__doc__) for part in ("cross-modal", "rest", "head"))


def test_towers_name_their_levels_in_plain_words() -> None:
    from mtlab.towers.planted import PlantedText, PlantedVision

    assert all(str(tower.__doc__).startswith("Planted levels") for tower in (PlantedText, PlantedVision))
