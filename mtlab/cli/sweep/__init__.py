"""`mtlab sweep`: the same search for every variant, then a comparison of the tuned variants on test data."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from mtlab.cli.sweep import best, dashboard, plan, report, run, status


class RunByDefault(TyperGroup):
    """`mtlab sweep FILE` is `mtlab sweep run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the command where a file is given in its place."""
        first = next((word for word in args if not word.startswith("-")), None)
        if first is not None and first not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(
    cls=RunByDefault,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Search for the best settings of every variant, each with the same budget; then compare them on test.

    `mtlab sweep FILE` searches (or goes on), retrains the best of each variant on fresh seeds, and compares.""",
    epilog="First steps: mtlab sweep plan quick · mtlab sweep quick · mtlab sweep status quick",
)

for command in (run.run, plan.plan, status.status, best.best, report.report, dashboard.dashboard):
    app.command()(command)
