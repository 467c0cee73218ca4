"""Commands to go on with: how a study is run again, or read."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from mtlab.runs.store import Store, store_root
from mtlab.studies.spec import DECLARED

RunAgain = Callable[..., str]  #: settings to add → what runs the study again


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


def readable_as(file: str, name: str, overrides: Iterable[str]) -> str:
    """Return how commands that read a study name it: by its file, or by its name where an override has chosen that."""
    return name if any(text.partition("=")[0] == "study.name" for text in overrides) else file


def run_again(file: str, *settings: str, store: Store | None = None) -> str:
    """Return what runs a study again: a command, or a call where it was declared in Python.

    Args:
        file: the study's file, or its name, as commands take it; of one that Python declared, its file in the store.
        settings: `KEY=VALUE` to add; of one key, the last.
        store: see `shell_command`.

    >>> run_again("quickstart", "study.seeds=5")
    'mtlab run quickstart study.seeds=5'
    >>> run_again("quickstart", "study.seeds=[3,4]")
    "mtlab run quickstart 'study.seeds=[3,4]'"
    >>> run_again("quickstart", "study.seeds=3", "train.lr=1e-4", "study.seeds=5")
    'mtlab run quickstart study.seeds=5 train.lr=1e-4'
    >>> run_again("runs/studies/mine/declared.yaml", "study.seeds=5")
    'mtlab.Study.load(…, ["study.seeds=5"]).run()'

    """
    last = {setting.partition("=")[0]: setting for setting in settings}.values()
    if Path(file).name != DECLARED:
        return shell_command("run", file, *last, store=store)
    given = ", ".join(f'"{setting}"' for setting in last)
    return f"mtlab.Study.load(…{f', [{given}]' if given else ''}).run()"
