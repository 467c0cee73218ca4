"""The command line: `mtlab plan | run | status | report | list | train`.

Each command is a module of its own, and imports what it needs inside: `mtlab --help` must not wait for torch.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from mtlab.cli import check, clean, dashboard, data, doctor, list_, make_raw, track, train
from mtlab.cli.models import checkpoints, evaluate, inspect, intervene, verify
from mtlab.cli.study import budget, figures, new, plan, report, run, status
from mtlab.cli.sweep import run as sweep
from mtlab.errors import UserError

app = typer.Typer(
    name="mtlab",
    help="Experiments and ablations on how a cross-modal encoder draws on the layers of uni-modal experts.",
    epilog="First steps: mtlab plan quickstart · mtlab run quickstart · mtlab report quickstart",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, Callable[..., None]] = {
    "new": new.new,
    "plan": plan.plan,
    "budget": budget.budget,
    "run": run.run,
    "status": status.status,
    "report": report.report,
    "figures": figures.figures,
    "dashboard": dashboard.dashboard,
    "eval": evaluate.evaluate,
    "intervene": intervene.intervene,
    "import": checkpoints.import_,
    "export": checkpoints.export,
    "verify": verify.verify,
    "inspect": inspect.inspect,
    "list": list_.list_entries,
    "check": check.check,
    "doctor": doctor.doctor,
    "clean": clean.clean,
    "train": train.train,
}
GROUPS: dict[str, typer.Typer] = {  #: commands that have commands of their own
    "sweep": sweep.app,
    "track": track.app,
    "data": data.app,
}
PANELS: dict[str, tuple[str, ...]] = {
    "Studies": ("new", "plan", "budget", "run", "status", "report", "figures", "dashboard", "sweep", "track"),
    "Single runs and models": ("inspect", "eval", "intervene", "import", "export", "verify"),
    "Data": ("data",),
    "What there is": ("list", "check", "doctor", "clean", "train"),
}
data.app.command("make")(make_raw.make)
for _panel, _names in PANELS.items():
    for _name in _names:
        if _name in GROUPS:
            app.add_typer(GROUPS[_name], name=_name, rich_help_panel=_panel)
        else:
            app.command(_name, rich_help_panel=_panel)(COMMANDS[_name])


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"mtlab {version('mtlab')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> int:
    """Run the command line and return its exit code: 0, 1 a run failed, 2 wrong input, 130 interrupted."""
    # Python's last act would be to look for cycles in all that torch has made: a quarter of a second for every command.
    atexit.register(gc.freeze)
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # `mtlab list | head`
        sys.stderr.close()
        return 0
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        usage = getattr(error, "format_message", None)  # a wrong option; typer's own class is not public
        if usage is None:
            raise
        problem = " ".join(usage().replace("Value error, ", "").split())
        if problem:  # else no command was given, and the help is on the screen
            print(
                f"error: {problem} (see `{' '.join(['mtlab', *_command_given(sys.argv[1:3])])} --help`)",
                file=sys.stderr,
            )
        return 2
    return code if isinstance(code, int) else 0


def _command_given(words: Sequence[str]) -> list[str]:
    """Find the command in the first words of the command line, with the group that it is in."""
    if not words or words[0] not in COMMANDS | GROUPS:
        return []
    inside = GROUPS[words[0]].registered_commands if words[0] in GROUPS else []
    named = {command.callback.__name__ for command in inside if command.callback is not None}
    return [words[0], *(word for word in words[1:2] if word in named)]
