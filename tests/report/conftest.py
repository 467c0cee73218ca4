"""Stores with runs that were never trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from fabric import Fabric

from mtlab.runs.store import Store


@pytest.fixture
def fabric(tmp_path: Path) -> Fabric:
    """Give an empty store to write runs into."""
    return Fabric(Store.open(tmp_path / "runs", create=True))


ACCURACIES: Mapping[str, Sequence[float]] = {
    "last": (0.58, 0.60, 0.56, 0.59, 0.57),
    "bridge": (0.70, 0.72, 0.69, 0.71, 0.68),
    "static": (0.80, 0.83, 0.79, 0.82, 0.78),
    "adaptive": (0.71, 0.70, 0.71, 0.69, 0.70),
}


@pytest.fixture
def four(fabric: Fabric) -> Fabric:
    """Give a store with four variants of five seeds each."""
    for cell, accuracies in ACCURACIES.items():
        for seed, accuracy in enumerate(accuracies):
            fabric.finish(cell, seed, accuracy)
    return fabric
