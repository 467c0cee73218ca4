"""The store in which everything occurs, made once: tests that change it make their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium, visit  # noqa: F401 - fixtures
from stores import mixed

from mtlab.analysis.dashboard.data import Data


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the store."""
    folder: Path = tmp_path_factory.mktemp("mixed") / "runs"
    mixed(folder)
    return folder


@pytest.fixture
def data(root: Path) -> Iterator[Data]:
    """Open the store as the pages do, without remembering anything for long."""
    opened = Data(root, fresh=0.0)
    yield opened
    opened.close()
