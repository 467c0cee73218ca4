"""Stores with runs that were never trained."""

from collections.abc import Mapping, Sequence

import pytest
from fabric import Fabric, fabric  # noqa: F401 - a fixture

ACCURACIES: Mapping[str, Sequence[float]] = {
    "last": (0.58, 0.60, 0.56, 0.59, 0.57),
    "bridge": (0.70, 0.72, 0.69, 0.71, 0.68),
    "static": (0.80, 0.83, 0.79, 0.82, 0.78),
    "adaptive": (0.71, 0.70, 0.71, 0.69, 0.70),
}


@pytest.fixture
def four(fabric: Fabric) -> Fabric:  # noqa: F811 - the fixture
    """Give a store with four variants of five seeds each."""
    for cell, accuracies in ACCURACIES.items():
        for seed, accuracy in enumerate(accuracies):
            fabric.finish(cell, seed, accuracy)
    return fabric
