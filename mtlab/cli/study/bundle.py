"""`mtlab bundle`: a study in one file, to attach to a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtlab.cli.options import StoredStudy, StoreOption
from mtlab.cli.output import status_line
from mtlab.cli.stored import note_changed, stored_study_name
from mtlab.errors import UserError


def bundle(
    file: StoredStudy,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The zip file to write.", show_default="STUDY.zip")
    ] = None,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="With the best checkpoint of every run.")] = False,
    store: StoreOption = None,
) -> None:
    """Pack a study into one zip file: plan, results, figures and environment, to attach to a paper.

    `mtlab report FILE.zip` opens it elsewhere; its `report.html` needs no mtlab. The name of this machine, the folders
    of the study's file and plug-ins, logs, and runs that are not finished are left out.

    mtlab bundle quickstart · mtlab bundle quickstart --checkpoints --out all.zip
    """
    from mtlab.report.archive import write_archive
    from mtlab.runs.shell_command import shell_command
    from mtlab.runs.store import Store, final_name, is_sweep, store_root

    opened = Store.open(store_root(store))
    note_changed(file, opened)
    name = stored_study_name(file, opened)
    plan = opened.plan(name)
    if is_sweep(plan):
        raise UserError(f"is a sweep: `mtlab bundle {final_name(name)}` packs its tuned variants", file=file)
    path = out or Path(f"{name}.zip")
    if path.suffix != ".zip":
        raise UserError("is to end in .zip; an archive goes into a file, not into a pipe", file=path, key="--out")
    with status_line() as log:
        log(f"packing {name}")
        done = write_archive(opened, plan, path, checkpoints=checkpoints)
    lacking = done.asked - done.runs
    missing = f"; {lacking} that {'is' if lacking == 1 else 'are'} not finished left out" if lacking else ""
    typer.echo(f"{done.runs} of {done.asked} runs{missing}; {done.files} files, {done.size / 1e6:.1f} MB")
    typer.echo(f"written to {done.path}; elsewhere: {shell_command('report', done.path.name)}")
