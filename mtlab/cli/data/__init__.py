"""`mtlab data`: from raw files to shards, and a look at what is in them."""

from __future__ import annotations

import typer

from mtlab.cli.data import check, convert, info, make, sample

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Convert data sets into shards, and look at them: make, convert, info, check, sample.",
)
for command in (convert.convert, info.info, check.check, sample.sample, make.make):
    app.command()(command)
