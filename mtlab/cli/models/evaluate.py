"""`mtlab eval`: evaluate a finished run again, on its own data or on other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mtlab.cli.options import JsonOption, PluginOption, PluginsOption, StoreOption, blame_option
from mtlab.cli.output import make_table, print_json, progress_bar, unless_unwritable
from mtlab.errors import UserError, place_errors
from mtlab.units import format_metric

if TYPE_CHECKING:
    from mtlab.inference.evaluation import EvaluatedRun
    from mtlab.runs.find_run import FinishedRun

SplitName = Literal["train", "val", "test"]
SUFFIXES = (".parquet", ".csv", ".jsonl")


def evaluate(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="STUDY:VARIANT:SEED (what is unique may be left out), a run's folder, or a checkpoint."
        ),
    ],
    task: Annotated[
        str | None, typer.Option("--task", help="NAME,OPTION=VALUE,…", show_default="the run's own")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="NAME,OPTION=VALUE,… of a data set; OPTION=VALUE alone changes the run's own.",
            show_default="the run's own",
        ),
    ] = None,
    split: Annotated[SplitName, typer.Option("--split", help="Test data is read only if you say so.")] = "val",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Outcomes of single examples: .parquet, .csv or .jsonl.", show_default="in the store"
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers",
            help="Answers as VQAv2's evaluation server takes them: a JSON list of {question_id, answer}.",
            show_default="none",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    store: StoreOption = None,
    plugin: PluginOption = None,
    no_plugins: PluginsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a finished run: metrics per family, and the outcome of every example. Nothing in the run changes.

    Answers are matched by name. A question whose right answer the model does not know counts as wrong, and is counted.
    Where right answers are not public, questions are answered for their server, and nothing is scored.

    mtlab eval quickstart:static:0 --split test · mtlab eval quickstart:static:0 --data difficulty=hard ·
    mtlab eval runs/cells/CELL/s0 --data questions,folder=mine --out mine.csv ·
    mtlab eval vqa:adaptive:0 --split test --answers answers.json
    """
    from mtlab.files import check_folder, json_text, write_json
    from mtlab.output_file import write_output
    from mtlab.runs.find_run import find_run
    from mtlab.runs.store import store_root

    if out is not None and out.suffix not in SUFFIXES:
        raise UserError(f"{out.suffix or 'no suffix'}: expected one of {', '.join(SUFFIXES)}", file=out, key="--out")
    found = find_run(run, store_root(store))
    if out is None and found.store is None:
        raise UserError("lies in no store: say by --out where the outcomes go", file=found.folder)
    for path in (out, answers):
        if path is not None:
            check_folder(path.parent)
    from mtlab.inference.evaluation import write_table  # imports torch

    evaluated = _evaluate(found, task, data, split, device, plugin or [], plugins=not no_plugins)
    for_server = None if answers is None else evaluated.answer_file()
    summary, where = evaluated.summary() | {"outcomes": None}, ""
    if answers is not None:
        write_output(answers, json_text(for_server))
        summary["answers"] = str(answers)
    if out is not None:
        write_table(evaluated.table(), out)
        summary["outcomes"], where = str(out), f"written to {out}"
    else:
        with unless_unwritable():
            path = evaluated.default_path()
            write_table(evaluated.table(), path)
            summary["outcomes"], where = str(path), f"written to {path} and {path.with_suffix('.json').name}"
            write_json(path.with_suffix(".json"), summary)
    if as_json:
        print_json(summary)
        return
    _print(evaluated)
    if where:
        typer.echo(where)
    if answers is not None:
        typer.echo(f"{len(evaluated.examples):,} answers for the evaluation server: {answers}")


def _evaluate(
    run: FinishedRun,
    task: str | None,
    data: str | None,
    split: SplitName,
    device: str,
    plugin: list[str],
    *,
    plugins: bool,
) -> EvaluatedRun:
    from mtlab.inference.evaluation import evaluate_run, parse_request
    from mtlab.inference.loading import import_run_plugins

    import_run_plugins(run, allowed=plugins, named=plugin)
    with place_errors(file="command line"):
        request = parse_request(run, task, data, split)
        with blame_option("--device", "train.device"), progress_bar(f"{run.title} on {split} data") as progress:
            return evaluate_run(run, request, device=device, progress=progress)


def _print(evaluated: EvaluatedRun) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, emoji=False)
    request, split = evaluated.request, evaluated.request.split
    own = "the run's own" if request.own_data else "not what it was trained on"
    step = "" if evaluated.step is None else f", checkpoint of step {evaluated.step}"
    console.print(f"[bold]{escape(evaluated.run.title)}[/] ({evaluated.run.id}{step})")
    console.print(
        f"{escape(request.data['name'])} ({own}) · {split} · {len(evaluated.examples)} examples · {evaluated.device}"
    )
    if not evaluated.hidden:
        (first, *others), *rows = _by_family(evaluated)
        table = make_table(first, numbers=others)
        for row in rows:
            table.add_row(*row)
        console.print(table)
        if further := evaluated.evaluation.extra_metrics:
            console.print(" · ".join(f"{escape(name)} {format_metric(value, name)}" for name, value in further.items()))
    for line in _remarks(evaluated):
        console.print(escape(line))


def _by_family(evaluated: EvaluatedRun) -> list[list[str]]:
    """Return the rows of the table: header, all examples, then family by family."""
    split, metrics = evaluated.request.split, evaluated.metrics
    names = list(evaluated.evaluation.scores)
    counts = Counter(evaluated.evaluation.families)

    shown = [*names, *(f"{name}_floor" for name in names if f"{split}/{name}_floor" in metrics)]

    def cells(suffix: str) -> list[str]:
        return [format_metric(metrics[f"{split}/{name}{suffix}"], name) for name in shown]

    known = metrics.get(f"{split}/loss")
    loss = "–" if known is None else format_metric(known, "loss")
    rows = [["all", f"{len(evaluated.evaluation.ids):,}", *cells(""), loss]]
    rows += [[family, f"{counts[family]:,}", *cells(f"/{family}"), ""] for family in sorted(counts)]
    return [["family", "n", *(name.replace("_floor", " of a blind model") for name in shown), "loss"], *rows]


def _remarks(evaluated: EvaluatedRun) -> list[str]:
    lines: list[str] = []
    if evaluated.hidden:
        lines.append("the right answers are not public: their server scores what --answers FILE writes")
    unknown = evaluated.unknown
    if unknown:
        some = ", ".join(f"{answer} ({count})" for answer, count in unknown.most_common(5))
        more = ", …" if len(unknown) > 5 else ""
        lines.append(
            f"{unknown.total()} of {len(evaluated.examples)} questions have a right answer that the model does not "
            f"know, and count as wrong (the loss leaves them out): {some}{more}"
        )
    if evaluated.request.split == "test":
        lines.append("test data was read, since --split test asks for it: choose nothing by these numbers")
    if evaluated.request.split == "train":
        lines.append("training data: these numbers say what was learned by heart, too")
    return lines
