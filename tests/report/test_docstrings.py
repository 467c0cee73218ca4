"""The examples in docstrings of reports and dashboard are right."""

import doctest
import importlib
import pkgutil

import pytest

from mtlab import dashboard, report

NAMES = [
    module.name
    for package in (report, dashboard)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_right(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    assert sum(doctest.testmod(importlib.import_module(name)).attempted for name in NAMES) > 20
