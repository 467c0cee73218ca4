"""How a study is run again: a command, or a call where it was declared in Python."""

from __future__ import annotations

import shlex
from pathlib import Path

from mtlab.studies.spec import DECLARED


def run_again(file: str, *settings: str) -> str:
    """Return what runs a study again.

    Args:
        file: the study's file, or its name, as commands take it; of one that Python declared, its file in the store.
        settings: `KEY=VALUE` to add; of one key, the last.

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
        return " ".join(["mtlab run", file, *map(shlex.quote, last)])
    given = ", ".join(f'"{setting}"' for setting in last)
    return f"mtlab.Study.load(…{f', [{given}]' if given else ''}).run()"
