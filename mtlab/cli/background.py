"""`--detach`: the same command again, in the background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mtlab.runs.store import Store


def repeated_words(context: typer.Context, store: Store) -> list[str]:
    """Return the arguments and options of this command, but `--detach` and `--quiet`, for the store that it opened."""
    given = context.params | {"store": store.root, "detach": None, "quiet": None}
    arguments, options = list[str](), list[str]()
    for each in context.command.params:
        value = given[each.name or ""]
        if value is None or value is False:
            continue
        if each.param_type_name == "argument":
            arguments += map(str, value if each.nargs != 1 else [value])
        else:
            options += [each.opts[0], *(() if value is True else (str(value),))]
    return arguments + options


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
        if code or not quiet:
            typer.echo(log.read_bytes()[before:].decode(errors="replace"), nl=False, err=code != 0)
    elif not quiet:
        typer.echo(f"{name} goes on in the background (process {process.pid}); what it prints: {log}")
        following = [shell_command(*each, store=store) for each in (status, ("logs", "RUN", "-f"), ("cancel", name))]
        typer.echo(f"next: {', '.join(following)}")
    return code or 0
