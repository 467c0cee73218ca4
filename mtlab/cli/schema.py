"""`mtlab schema`: what editors complete and check study and sweep files by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer


def schema(
    kind: Annotated[Literal["study", "sweep"], typer.Argument(help="Of which files.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file.", show_default=False)] = None,
) -> None:
    """Print the JSON Schema of study or sweep files, by which editors complete keys and mark mistakes.

    The first line of a file names it: # yaml-language-server: $schema=study.schema.json
    """
    from mtlab.output_file import write_output
    from mtlab.workflow.study_schema import study_schema
    from mtlab.workflow.sweep_schema import sweep_schema

    text = json.dumps(study_schema() if kind == "study" else sweep_schema(), indent=1, ensure_ascii=False) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    write_output(out, text)
    typer.echo(f"written to {out}; the first line of a {kind} beside it: # yaml-language-server: $schema={out.name}")
