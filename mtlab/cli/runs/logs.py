"""`mtlab logs`: what the worker of a run has printed."""

from __future__ import annotations

import codecs
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from mtlab.cli.options import AnyRun, StoreOption
from mtlab.errors import UserError

INTERVAL = 0.5  #: seconds between two looks at a log that is followed


def logs(
    run: AnyRun,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run stops; Ctrl-C ends it.")] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=1, help="Only the last lines.", show_default="all")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Print the log of a run: what its workers have printed, errors included."""
    from mtlab.runs.archive import is_archive
    from mtlab.runs.find_run import find_run_folder
    from mtlab.runs.lock import LockWatch
    from mtlab.runs.store import store_root

    root = store_root(store)
    folder = find_run_folder(run, root)
    path = folder / "log.txt"
    if not path.is_file() and is_archive(root):
        raise UserError("is an archive, which leaves logs out", file=root)
    if not path.is_file():
        raise UserError("there is no log yet: it begins when a worker starts the run", file=path)
    watch = LockWatch(folder)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # keeps a letter of which only a part is written yet
    with path.open("rb") as stream:
        text = decoder.decode(stream.read())
        sys.stdout.write(text if lines is None else "".join(text.splitlines(keepends=True)[-lines:]))
        if follow and _waits(folder):
            typer.echo("note: no worker has begun this run: waiting for one, Ctrl-C ends that", err=True)
        while follow:
            # Asked first: what is written until then is still read.
            running = watch.observe() in ("live", "unsure") or _waits(folder)
            sys.stdout.write(decoder.decode(stream.read()))
            sys.stdout.flush()
            if not running:
                break
            time.sleep(INTERVAL)


def _waits(folder: Path) -> bool:
    """Return whether a worker was asked for that has not begun: it imports torch, or its job is in a queue."""
    return not (folder / "log.txt").stat().st_size and not (folder / "state.json").exists()
