"""The command line: `mtlab plan | run | status | report | list | train`.

Each command is a module of its own, and imports what it needs inside: `mtlab --help` must not wait for torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from mtlab.cli import (
    budgeting,
    checking,
    checkpoints,
    cleaning,
    doctor,
    evaluation,
    intervening,
    listing,
    planning,
    reporting,
    running,
    starting,
    state,
    training,
    verifying,
)
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
    "new": starting.new,
    "plan": planning.plan,
    "budget": budgeting.budget,
    "run": running.run,
    "status": state.status,
    "report": reporting.report,
    "eval": evaluation.evaluate,
    "intervene": intervening.intervene,
    "list": listing.list_entries,
    "check": checking.check,
    "doctor": doctor.doctor,
    "clean": cleaning.clean,
    "import": checkpoints.import_,
    "export": checkpoints.export,
    "verify": verifying.verify,
    "train": training.train,
}
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


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
        command = next((name for name in sys.argv[1:2] if name in COMMANDS), "")
        print(f"error: {problem} (see `{f'mtlab {command}'.strip()} --help`)", file=sys.stderr)
        return 2
    return code if isinstance(code, int) else 0
