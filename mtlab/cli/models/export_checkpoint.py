"""`mtlab export`: a model in a published format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mtlab.cli.options import JsonOption, StoreOption
from mtlab.cli.output import print_json, status_line
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.interop.exporting import ExportSummary
    from mtlab.runs.store import Store


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="An imported checkpoint's folder; or a finished run: its folder, or STUDY:VARIANT:SEED.",
        ),
    ],
    to: Annotated[
        Literal["official", "hf"],
        typer.Option(help="official: the authors' .ckpt; hf: a folder of Hugging Face's BridgeTower."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File (official) or folder (hf) to write; it must not exist.")
    ],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model in a published format, or say which of its settings that format cannot hold.

    A checkpoint that was imported comes out as it went in, dead weights included, bit for bit. With --to hf, a run gets
    a model card: task, data, manager, the table of its study, its layers, and how to make it again.

    Example: mtlab export bridgetower --to hf --out bridgetower-hf
    """
    with status_line() as log:
        done, card = export_model(source, to, out, store, log)
    if as_json:
        print_json(dataclasses.asdict(done) | {"out": str(out), "card": card})
        return
    _print_result(done, out, to)
    if card:
        typer.echo(f"its model card: {out / card[0]}")


def export_model(
    source: Path, to: Literal["official", "hf"], out: Path, store: Path | None, log: Callable[[str], None]
) -> tuple[ExportSummary, list[str]]:
    """Write a model in a published format; return what was written, and the files of its model card.

    Args:
        source: as the command line names it.
        to: the format.
        out: file or folder to write.
        store: `--store`.
        log: called with a line before each step.

    Raises:
        UserError: there is no such run, or the format cannot hold the model.

    """
    from mtlab.interop.exporting import export as write
    from mtlab.runs.find_run import find_run
    from mtlab.runs.store import store_root

    study = None
    if not source.exists() and ":" in str(source):
        study = str(source).partition(":")[0]
        source = find_run(str(source), store_root(store)).folder
    card: list[str] = []

    def write_card_into(folder: Path, done: ExportSummary) -> None:
        card.extend(_write_card(source, study, folder, done, log))

    done = write(source, "official" if to == "official" else "huggingface", out, log, write_card_into)
    return done, card


def _write_card(
    source: Path, study: str | None, out: Path, done: ExportSummary, log: Callable[[str], None]
) -> list[str]:
    """Write the model card of a run that belongs to a study of its store; return the files, none for another model."""
    from mtlab.report.model_card import write_card
    from mtlab.runs.find_run import find_run

    if not (source / "result.json").is_file():
        return []
    run = find_run(source, source)
    if run.store is None or (plan := plan_of(run.id, run.store, study)) is None:
        return []
    log("writing the model card")
    return write_card(run.store, plan, run.id, out, left_out=done.left_out, notes=done.notes)


def plan_of(run: str, store: Store, study: str | None) -> dict[str, Any] | None:
    """Return the stored plan that asks for a run: that of a study, else the first; damaged ones are passed over."""
    for name in [study] if study else store.study_names():
        with suppress(UserError):
            plan = store.plan(name)
            if any(planned["id"] == run for planned in plan["runs"]):
                return plan
    return None


def differences(done: ExportSummary) -> list[str]:
    """Describe what the written model lacks, and where it is another."""
    dropped = f"heads that this format has no place for are left out: {', '.join(done.left_out)}"
    return [*([dropped] if done.left_out else ()), *done.notes]


def _print_result(done: ExportSummary, out: Path, to: str) -> None:
    exact = ", as it was imported" if done.exact else ""
    typer.echo(f"{done.family}: {done.weights} weights{exact}")
    for line in differences(done):
        typer.echo(f"  {line}")
    of_transformers = "from_pretrained of BridgeTowerModel and BridgeTowerProcessor"
    following = of_transformers if to == "hf" else "load_path= of the authors' code"
    typer.echo(f"written to {out}; next: {following}")
