"""Processes that start at once: fresh forks of one in which torch and mtlab are imported already."""

from __future__ import annotations

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "mtlab.cli",
        "mtlab.training.worker",
        "mtlab.towers.tiny",
        "mtlab.towers.planted",
        "mtlab.studies.plan",
        "polars",
        "torch._dynamo",  # which torch's optimisers import, in two seconds
    ]
)
