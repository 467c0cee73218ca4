"""`--detach`: the same command again, in the background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mtlab.runs.store import Store


def option_words(**options: object) -> list[str]:
    """Return options as words of a command line, without those that are not given.

    >>> option_words(workers=2, launcher=None, fail_fast=True, replace=False)
    ['--workers', '2', '--fail-fast']
    """
    words: list[str] = []
    for name, value in options.items():
        if value is not None and value is not False:
            words += [f"--{name.replace('_', '-')}", *(() if value is True else (str(value),))]
    return words


def detach(words: Sequence[str], store: Store, name: str, status: Sequence[str], *, quiet: bool) -> int:
    """Start `mtlab WORDS` in the background; return 0 once it launches runs, else its exit code.

    Args:
        words: the command line, without `mtlab`.
        store: the run store.
        name: the study or sweep that is launched.
        status: the command that shows how far it is, likewise.
        quiet: print nothing if it goes on.

    """
    from mtlab.runs.shell_command import shell_command
    from mtlab.workflow.detached import LOG, start_detached

    log = store.study(name) / LOG
    before = log.stat().st_size if log.exists() else 0
    process = start_detached(words, store, name)
    code = process.poll()
    if code is not None:  # nothing was left to do, or something is wrong
        typer.echo(log.read_bytes()[before:].decode(errors="replace"), nl=False, err=code != 0)
    elif not quiet:
        typer.echo(f"{name} goes on in the background (process {process.pid}); what it prints: {log}")
        following = [shell_command(*each, store=store) for each in (status, ("logs", "RUN", "-f"), ("cancel", name))]
        typer.echo(f"next: {', '.join(following)}")
    return code or 0
