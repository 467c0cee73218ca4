"""The command line: one module a command, which parses arguments and prints messages.

A command imports what it needs inside its function: `mtlab --help` must not import torch.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from mtlab.cli import check, clean, dashboard, data, doctor, list_entries, schema, sweep, terminal, track, train
from mtlab.cli.models import evaluate, export_checkpoint, import_checkpoint, inspect, intervene, push, verify
from mtlab.cli.runs import diff, logs, open_run
from mtlab.cli.study import budget, bundle, cancel, figures, new, plan, report, run, status, testbed
from mtlab.errors import UserError
from mtlab.files import as_user_error

app = typer.Typer(
    name="mtlab",
    help="Experiments and ablations on how a cross-modal encoder draws on the layers of its pre-trained encoders.",
    epilog="First steps: mtlab plan quickstart · mtlab run quickstart · mtlab report quickstart",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
#: panel of `mtlab --help` → its commands; a `Typer` has subcommands.
COMMANDS: dict[str, dict[str, Callable[..., None] | typer.Typer]] = {
    "Studies": {
        "new": new.new,
        "plan": plan.plan,
        "budget": budget.budget,
        "run": run.run,
        "cancel": cancel.cancel,
        "status": status.status,
        "report": report.report,
        "testbed": testbed.make_card,
        "figures": figures.figures,
        "bundle": bundle.bundle,
        "dashboard": dashboard.dashboard,
        "sweep": sweep.app,
        "track": track.app,
    },
    "Single runs and models": {
        "logs": logs.logs,
        "open": open_run.open_run,
        "diff": diff.diff,
        "inspect": inspect.inspect,
        "eval": evaluate.evaluate,
        "intervene": intervene.intervene,
        "import": import_checkpoint.import_,
        "export": export_checkpoint.export,
        "push": push.push,
        "verify": verify.verify,
    },
    "Data": {"data": data.app},
    "What there is": {
        "list": list_entries.list_entries,
        "schema": schema.schema,
        "check": check.check,
        "doctor": doctor.doctor,
        "clean": clean.clean,
        "train": train.train,
    },
}
for _panel, _commands in COMMANDS.items():
    for _name, _command in _commands.items():
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, rich_help_panel=_panel)
        else:
            app.command(_name, rich_help_panel=_panel)(_command)

app.command("fork-workers", hidden=True)(train.fork_workers)  # a process of the launcher's own


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"mtlab {version('mtlab')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> int:
    """Run the command line and return its exit code: 0, 1 a run failed, 2 wrong input, 130 interrupted."""
    # Else Python collects garbage at its end, in all that torch has made: a quarter of a second for every command.
    atexit.register(gc.freeze)
    terminal.encode_everything()
    try:
        Path.cwd()
    except FileNotFoundError:  # another terminal may have removed it
        print("error: the working folder is gone: change to one that exists", file=sys.stderr)
        return 2
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except UserError as error:
        return _refuse(error)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except (BrokenPipeError, SystemExit) as stop:  # `mtlab list | head`, of which typer and rich make an exit
        if isinstance(stop, SystemExit) and not isinstance(stop.__context__, BrokenPipeError):
            raise
        terminal.drop_output()
        return 0
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        if _was_interrupted(error):
            return 130
        explained = as_user_error(error, Path.cwd()) if isinstance(error, OSError) else error
        if isinstance(explained, UserError):  # of a full, read-only or strange disk, wherever it was met
            return _refuse(explained)
        usage = getattr(error, "format_message", None)  # a wrong option; typer's own class is not public
        if usage is None:
            raise
        problem = " ".join(usage().replace("Value error, ", "").split())
        if problem:  # else no command was given, and the help was printed
            print(
                f"error: {problem} (see `{' '.join(['mtlab', *_command_given(sys.argv[1:3])])} --help`)",
                file=sys.stderr,
            )
        return 2
    return code if isinstance(code, int) else 0


def _refuse(error: UserError) -> int:
    """Print what is wrong; return the exit code."""
    archive = sys.modules.get("mtlab.runs.archive")  # which most commands do not need
    print(f"error: {error if archive is None else archive.name_archives(str(error))}", file=sys.stderr)
    return 2


def _was_interrupted(error: BaseException) -> bool:
    """Return whether an error comes of Ctrl-C: raised within some hooks of Python, it is wrapped in another error."""
    cause = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt) or (cause is not None and _was_interrupted(cause))


def _command_given(words: Sequence[str]) -> list[str]:
    """Return the command in the first words of the command line, with its group."""
    commands = {name: command for panel in COMMANDS.values() for name, command in panel.items()}
    if not words or words[0] not in commands:
        return []
    group = commands[words[0]]
    inside = group.registered_commands if isinstance(group, typer.Typer) else []
    named = {command.callback.__name__ for command in inside if command.callback is not None}
    return [words[0], *(word for word in words[1:2] if word in named)]
