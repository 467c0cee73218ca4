"""A browser, a Slurm cluster, and one PostgreSQL server for all tests that need one."""

from collections.abc import Iterator

import postgres_server
import pytest
from browser import chromium, visit  # noqa: F401 - fixtures
from slurm_cluster import cluster, running_cluster  # noqa: F401 - fixtures


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """Give the URL of an empty database."""
    if postgres_server.programs() is None:
        pytest.skip("no PostgreSQL server is installed")
    with postgres_server.running() as made:
        yield made.url
