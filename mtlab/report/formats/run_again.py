"""Commands to go on with: how a study is run again, or read."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mtlab.config.load import parse_override
from mtlab.runs.shell_command import sweep_command, writing_command
from mtlab.runs.store import Store, is_sweep
from mtlab.studies.axes import whole
from mtlab.studies.spec import DECLARED

RunAgain = Callable[..., str]  #: settings to add → what runs the study again


def readable_as(file: str, name: str, overrides: Iterable[str]) -> str:
    """Return how commands that read a study name it: by its file, or by its name where an override has chosen that."""
    return name if any(text.partition("=")[0] == "study.name" for text in overrides) else file


def go_on(plan: Mapping[str, Any], store: Store) -> str:
    """Return what starts a stored study or sweep, or goes on with it."""
    if is_sweep(plan):
        return sweep_command(plan, store)
    return run_again(plan["spec_file"], *plan["overrides"], store=store)


def run_from_text(plan: Mapping[str, Any]) -> tuple[str, str]:
    """Return how a reader who has a stored study's text alone runs it: the file to save it as, and the command.

    The file that it was planned from may be another, with bases that the text holds, or none, if Python declared it.
    """
    file = f"{plan['study']}.yaml"
    return file, shlex.join(["mtlab", "run", file, *plan["overrides"]])


def run_again(file: str, *settings: str, store: Store | None = None) -> str:
    """Return what runs a study again: a command, or a call where it was declared in Python.

    Args:
        file: the study's file, or its name, as commands take it; of one that Python declared, its file in the store.
        settings: `KEY=VALUE` to add; of one key the last, of one `train.length` the last that is not cleared.
        store: see `writing_command`.

    >>> run_again("quickstart", "study.seeds=5")
    'mtlab run quickstart study.seeds=5'
    >>> run_again("quickstart", "study.seeds=[3,4]")
    "mtlab run quickstart 'study.seeds=[3,4]'"
    >>> run_again("quickstart", "train.length.epochs=1", "train.length.steps=40")
    'mtlab run quickstart train.length.steps=40'
    >>> run_again("quickstart", "train.length.epochs=2", "train.length.steps=null")
    'mtlab run quickstart train.length.epochs=2'
    >>> run_again("quickstart", "study.seeds=3", "train.lr=1e-4", "study.seeds=5")
    'mtlab run quickstart study.seeds=5 train.lr=1e-4'
    >>> run_again("runs/studies/mine/declared.yaml", "study.seeds=5")
    'mtlab.Study.load(…, ["study.seeds=5"]).run()'

    """
    given_last: dict[str, str] = {}
    for setting in settings:
        key, cleared = setting.partition("=")[0], parse_override(setting)[1] is None
        if not cleared or whole(key) == key or whole(key) not in given_last:
            given_last[whole(key)] = setting
    last = given_last.values()
    if Path(file).name != DECLARED:
        return writing_command("run", file, *last, store=store)
    given = ", ".join(f'"{setting}"' for setting in last)
    return f"mtlab.Study.load(…{f', [{given}]' if given else ''}).run()"
