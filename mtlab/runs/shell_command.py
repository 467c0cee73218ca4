"""Commands of mtlab that messages tell to run next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtlab.runs.store import Store, store_root


def shell_command(*words: str | Path, store: Store | None = None) -> str:
    """Return a command of mtlab as a shell takes it.

    Args:
        words: the command and its arguments.
        store: that it is to work on: named by `--store`, unless it is the one that is found without.

    >>> shell_command("report", "my study.yaml", store=Store(Path("/data/my runs")))
    "mtlab report 'my study.yaml' --store '/data/my runs'"

    """
    root = None if store is None else store.archive or store.root
    named = [] if root in (None, store_root()) else ["--store", root]
    return shlex.join(map(str, ["mtlab", *words, *named]))


def writing_command(*words: str | Path, store: Store | None = None) -> str:
    """As `shell_command`, of a command that writes: an archive, which is only read, is not named."""
    return shell_command(*words, store=None if store is None or store.archive else store)


def sweep_command(plan: Mapping[str, Any], store: Store) -> str:
    """Return what begins a planned sweep, or goes on with it."""
    return writing_command("sweep", plan["spec_file"], *plan["overrides"], store=store)
