"""What every test has: one thread, and a cache and a store of its own."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may wait for a network

# The same examples each time, and no clock: a busy machine is no failure.
settings.register_profile("mtlab", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mtlab")


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests off the user's cache and store."""
    folder: Path = tmp_path_factory.mktemp("mtlab")
    monkeypatch.setenv("MTLAB_CACHE", str(folder / "cache"))
    monkeypatch.setenv("MTLAB_STORE", str(folder / "runs"))
