"""`mtlab eval`: judge a finished run again, on its own data or on other."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mtlab.cli.common import JsonOption, PluginOption, PluginsOption, StoreOption, print_json
from mtlab.errors import UserError

if TYPE_CHECKING:
    import polars as pl

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
    """Judge a finished run: metrics per family, and what became of every example. Nothing in the run changes.

    Answers are matched by name. A question whose right answer the model does not know counts as wrong, and is counted.
    Where right answers are not public, questions are answered for their server, and nothing is scored.

    mtlab eval quickstart:static:0 --split test · mtlab eval quickstart:static:0 --data difficulty=hard ·
    mtlab eval runs/cells/CELL/s0 --data questions,folder=mine --out mine.csv ·
    mtlab eval vqa:adaptive:0 --split test --answers answers.json
    """
    from mtlab.files import write_json
    from mtlab.runs.find_run import find_run
    from mtlab.runs.store import store_root

    if out is not None and out.suffix not in SUFFIXES:
        raise UserError(f"{out.suffix or 'no suffix'}: expected one of {', '.join(SUFFIXES)}", file=out, key="--out")
    found = find_run(run, store_root(store))
    if out is None and found.store is None:
        raise UserError("lies in no store: say by --out where the outcomes go", file=found.folder)
    judged = _judged(found, task, data, split, device, plugin or [], plugins=not no_plugins)
    for_server = None if answers is None else judged.answer_file()
    path = out or _place(judged)
    _write(judged.table(), path)
    summary = judged.summary() | {"outcomes": str(path)}
    if answers is not None:
        write_json(answers, for_server)
        summary["answers"] = str(answers)
    if out is None:
        write_json(path.with_suffix(".json"), summary)
    if as_json:
        print_json(summary)
        return
    _print(judged)
    typer.echo(f"written to {path}" + ("" if out is not None else f" and {path.with_suffix('.json').name}"))
    if answers is not None:
        typer.echo(f"{len(judged.examples):,} answers for the evaluation server: {answers}")


def _judged(
    found: FinishedRun,
    task: str | None,
    data: str | None,
    split: SplitName,
    device: str,
    plugin: list[str],
    *,
    plugins: bool,
) -> EvaluatedRun:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mtlab.config.plugins import import_named_plugins
    from mtlab.inference.evaluation import evaluate_run, parse_request
    from mtlab.inference.loading import import_run_plugins

    import_run_plugins(found, allowed=plugins)
    import_named_plugins(plugin)
    try:
        asked = parse_request(found, task, data, split)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
            row = bar.add_task(f"{found.title} on {split} data", total=None)
            return evaluate_run(
                found, asked, device=device, progress=lambda n, of: bar.update(row, completed=n, total=of)
            )
    except UserError as error:
        if error.key == "train.device":
            raise UserError(error.problem, file="command line", key="--device") from None
        raise error.at(file="command line") from None


def _place(judged: EvaluatedRun) -> Path:
    """Name the file in the store: `derived/<cell>/s<seed>/eval/DATA-SPLIT.parquet`."""
    from mtlab.config.hashing import digest

    store = judged.run.store
    assert store is not None
    name = str(judged.request.data["name"])
    if not judged.request.own_data or judged.request.task != judged.run.config["config"]["task"]:
        name += f"-{digest([judged.request.data, judged.request.task], 6)}"
    if judged.run.checkpoint.stem != "best":
        name += f"-{judged.run.checkpoint.stem}"
    return store.derived(judged.run.id) / "eval" / f"{name}-{judged.request.split}.parquet"


def _write(table: pl.DataFrame, path: Path) -> None:
    from mtlab.files import atomic_write

    with atomic_write(path) as scratch:
        if path.suffix == ".csv":
            table.write_csv(scratch)
        elif path.suffix == ".jsonl":
            table.write_ndjson(scratch)
        else:
            table.write_parquet(scratch)


def _print(judged: EvaluatedRun) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, emoji=False)
    asked, split = judged.request, judged.request.split
    own = "the run's own" if asked.own_data else "not what it was trained on"
    step = "" if judged.step is None else f", checkpoint of step {judged.step}"
    console.print(f"[bold]{escape(judged.run.title)}[/] ({judged.run.id}{step})")
    console.print(f"{escape(asked.data['name'])} ({own}) · {split} · {len(judged.examples)} examples · {judged.device}")
    if not judged.hidden:
        columns, *rows = _by_family(judged)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, justify="left" if column == "family" else "right")
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
        if further := judged.evaluation.extra_metrics:
            console.print(" · ".join(f"{escape(name)} {value:.4f}" for name, value in further.items()))
    for line in _remarks(judged):
        console.print(escape(line))


def _by_family(judged: EvaluatedRun) -> list[list[str]]:
    """Lay out the metrics: a head, all examples, then family by family."""
    split, metrics = judged.request.split, judged.metrics
    names = list(judged.evaluation.scores)
    counts = Counter(judged.evaluation.families)

    def cells(suffix: str) -> list[str]:
        return [f"{metrics[f'{split}/{name}{suffix}']:.4f}" for name in names]

    rows = [["all", f"{len(judged.evaluation.ids):,}", *cells(""), f"{metrics[f'{split}/loss']:.4f}"]]
    rows += [[family, f"{counts[family]:,}", *cells(f"/{family}"), ""] for family in sorted(counts)]
    return [["family", "n", *names, "loss"], *rows]


def _remarks(judged: EvaluatedRun) -> list[str]:
    lines: list[str] = []
    if judged.hidden:
        lines.append("the right answers are not public: their server scores what --answers FILE writes")
    unknown = judged.unknown
    if unknown:
        some = ", ".join(f"{answer} ({count})" for answer, count in unknown.most_common(5))
        more = ", …" if len(unknown) > 5 else ""
        lines.append(
            f"{unknown.total()} of {len(judged.examples)} questions have a right answer that the model does not know, "
            f"and count as wrong (the loss leaves them out): {some}{more}"
        )
    if judged.request.split == "test":
        lines.append("test data was read, since --split test asks for it: choose nothing by these numbers")
    if judged.request.split == "train":
        lines.append("training data: these numbers say what was learned by heart, too")
    return lines
