"""`mtlab open`: where the files of a run or a study are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtlab.cli.options import JsonOption, StoreOption
from mtlab.cli.output import print_json
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.runs.store import Store

CONTENTS = {  #: file or folder of a run → what it holds
    "config.json": "the complete configuration, and what the id is made of",
    "state.json": "host, device, versions, attempt",
    "log.txt": "what its workers printed: mtlab logs",
    "metrics.jsonl": "loss and metrics, a line per logged step",
    "result.json": "metrics of the best checkpoint, and costs",
    "failure.json": "why the last attempt failed",
    "examples.parquet": "the outcome of every validation and test example",
    "checkpoints": "best and last weights: mtlab.load, mtlab export",
    "layers.safetensors": "weights and contributions of the managers at the end",
    "trace.safetensors": "the same during training",
    "tokens.safetensors": "the same for each token of some examples: mtlab inspect",
}
STUDY_CONTENTS = {
    "spec.yaml": "the study as it was declared, with its bases merged in",
    "plan.json": "all runs, with ids, parents and costs",
    "launch.jsonl": "what the launcher did",
    "detached.log": "what the launcher in the background printed",
    "looks": "of seeds until decided: what each look found",
    "report": "tables and pages",
    "figures": "files of `mtlab figures`",
    "declared.yaml": "the study as Python declared it",
    "wandb": "offline files of Weights & Biases",
    "mlflow": "the database of MLflow, and its artifacts",
    "tensorboard": "event files of TensorBoard",
    "trackio": "the project of trackio",
    "tracking.log": "what the process printed that sends the study to its trackers",
}


def open_run(
    name: Annotated[
        str, typer.Argument(metavar="RUN|STUDY", help="A run as in `mtlab logs`, or the name of a study in the store.")
    ],
    store: StoreOption = None,
    as_json: JsonOption = False,
    browse: Annotated[bool, typer.Option("--browse", help="Open the folder in the file manager, too.")] = False,
) -> None:
    """Show where the files of a run or a study are, and what each holds."""
    from mtlab.runs.archive import is_archive
    from mtlab.runs.store import Store, store_root

    root = store_root(store)
    if is_archive(root):
        raise UserError("is an archive: unzip it, and --store names its folder `store`", file=root)
    known = Store.open(root).study_names() if (root / "store.json").exists() else []
    folder, found = _study_files(Store.open(root), name) if name in known else _run_files(name, root)
    if as_json:
        print_json({"folder": str(folder), "files": {each: str(path) for each, (path, _) in found.items()}})
    else:
        typer.echo(folder)
        width = max((len(each) for each in found), default=0)
        for each, (_, content) in found.items():
            typer.echo(f"  {each:<{width}}  {content}")
    if browse:
        typer.launch(str(folder))


def _run_files(name: str, root: Path) -> tuple[Path, dict[str, tuple[Path, str]]]:
    from mtlab.runs.find_run import find_run_folder

    folder = find_run_folder(name, root)
    if not folder.is_dir():
        raise UserError("has not begun: `mtlab run` begins it", file=folder)
    found = _existing(folder, CONTENTS)
    own = next((parent for parent in folder.resolve().parents if (parent / "store.json").is_file()), root)
    derived = own / "derived" / folder.parent.name / folder.name
    if derived.is_dir():
        found["derived"] = (derived, f"what was computed from the finished run, in {derived}")
    return folder, found


def _study_files(store: Store, name: str) -> tuple[Path, dict[str, tuple[Path, str]]]:
    plan = store.plan(name)
    found = _existing(store.study(name), STUDY_CONTENTS)
    for run in plan["runs"]:
        folder = store.run(run["id"])
        if folder.is_dir():
            found[f"{name}:{run['label']}:{run['seed']}"] = (folder, str(folder))
    return store.study(name), found


def _existing(folder: Path, contents: dict[str, str]) -> dict[str, tuple[Path, str]]:
    return {each: (folder / each, content) for each, content in contents.items() if (folder / each).exists()}
