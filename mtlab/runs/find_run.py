"""Finding a run by its folder, its id, its checkpoint, or as `STUDY:VARIANT:SEED`. No torch here."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.config.schema import NODES
from mtlab.errors import UserError, nearest
from mtlab.resolution.nodes import node_entry, node_options
from mtlab.runs import schemas
from mtlab.runs.archive import is_archive, name_archives
from mtlab.runs.shell_command import sweep_command
from mtlab.runs.store import Store

RUN_NAMES = "a run's folder, a checkpoint, STUDY:VARIANT:SEED, or CELL/sSEED"


@dataclass(frozen=True)
class FinishedRun:
    """A finished run and one of its checkpoints."""

    folder: Path
    checkpoint: Path
    config: Mapping[str, Any]  #: what its `config.json` holds
    store: Store | None  #: in which it lies, if it lies in one

    @property
    def id(self) -> str:
        """`<cell>/s<seed>`."""
        return f"{self.config['cell']}/s{self.config['seed']}"

    @property
    def title(self) -> str:
        """The run's name in messages."""
        return f"{self.config['label']}, seed {self.config['seed']}"


def check_unchanged(
    folder: Path,
    content: Mapping[str, Any],
    nodes: Iterable[str] = NODES,
    *,
    files: bool = True,
    sources: bool = False,
) -> None:
    """Check that a run's registered classes, tower weights and data are those that it was trained with.

    Otherwise its weights would be loaded into another model, or its answers get other names, unnoticed.

    Args:
        folder: of the run, for messages.
        content: of its `config.json`.
        nodes: the nodes of the configuration that are checked.
        files: check weights and data, too.
        sources: refuse plug-ins of another source, too; else a note on stderr names them.

    Raises:
        UserError: names what has changed.

    """
    config, hashed = content["config"], content.get("identity") or {}
    for node in nodes:
        used = node_entry(node, config[node])
        trained = hashed.get("versions", {}).get(f"{node}:{used.name}", used.version)
        if trained != used.version:
            problem = (
                f"was trained with version {trained} of {used.kind} {used.name!r}, which is version {used.version}"
            )
            raise UserError(f"{problem} here", file=folder)
        name = f"{node}:{used.name}"
        if content.get("plugin_code", {}).get(name, used.source) != used.source:
            problem = f"the source of plug-in {name} has changed since this run was planned"
            if sources:
                raise UserError(f"{problem}: put it back, or raise its version and run the study again", file=folder)
            print(name_archives(f"note: {problem}; it may be another model ({folder})"), file=sys.stderr)
    for node, trained in hashed.get("digests", {}).items():
        if node not in nodes or not files:
            continue
        what = "its data" if node == "data" else f"the weights of its {node} tower"
        cls = node_entry(node, config[node]).cls
        try:
            digest = cls.digest(node_options(node, config[node]))
        except UserError as error:
            problem = f"{what} cannot be read ({error})"
            if cls.location_options:
                problem += ": if they have moved, put them back, or a link to them"
                problem += "; `mtlab eval` takes `--data folder=NEW`" if node == "data" else ""
            raise UserError(problem, file=folder / "config.json", key=node) from None
        if trained != digest:
            raise UserError(f"{what} have changed since, or are not here", file=folder, key=node)


def find_run(name: str | Path, root: Path) -> FinishedRun:
    """Find a finished run.

    Args:
        name: see `RUN_NAMES`. What is unique may be omitted: the seed, the label, `/sSEED`.
        root: the store in which studies and ids are searched.

    Raises:
        UserError: no such run, several that it could be, or one that is not finished.

    """
    path = Path(name).expanduser()
    checkpoint = path.absolute() if path.suffix == ".safetensors" and path.is_file() else None
    folder = find_run_folder(name, root)
    config = read_config(folder)
    if not (folder / "result.json").is_file():
        raise UserError(
            "this run is not finished: `mtlab run` goes on with its study, `mtlab status` tells", file=folder
        )
    checkpoint = checkpoint or folder / "checkpoints" / "best.safetensors"
    return FinishedRun(folder, checkpoint, config, _store_of(folder, root))


def _store_of(folder: Path, root: Path) -> Store | None:
    """Return the store that a run's folder lies in: that at `root`, which may be an archive, or another."""
    if is_archive(root) and (opened := Store.open(root)).root in folder.parents:
        return opened
    parents = folder.resolve().parents
    return Store.open(parents[2]) if len(parents) > 2 and (parents[2] / "store.json").is_file() else None


def find_run_folder(name: str | Path, root: Path) -> Path:
    """Find the folder of a run in any state; a run that has not begun may have none yet.

    Args:
        name: see `find_run`.
        root: the store in which studies and ids are searched.

    Raises:
        UserError: no such run, or several that it could be.

    """
    found = find_run_folders(name, root)
    if len(found) > 1:
        some = ", ".join(list(found)[:4])
        raise UserError(f"{str(name)!r} could be {len(found)} runs: name one, such as {some}")
    (folder,) = found.values()
    return folder


def find_run_folders(name: str | Path, root: Path) -> dict[str, Path]:
    """Find the folders of all runs that a name may mean, by a name that means each alone.

    Raises:
        UserError: there is none.

    """
    path = Path(name).expanduser()
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise UserError("no such checkpoint", file=path)
        return {str(name): path.absolute().parent.parent}
    if (path / "config.json").is_file():
        return {str(name): path}
    if path.is_dir() and str(name) not in _names(root):
        raise UserError(f"is no run's folder (it has no config.json; expected {RUN_NAMES})", file=path)
    return _in_store(str(name), root)


def read_config(folder: Path) -> dict[str, Any]:
    """Read the `config.json` of a run.

    Raises:
        UserError: there is none, or it is damaged, or no run's.

    """
    try:
        config: dict[str, Any] = files.read_json(folder / "config.json")
    except (FileNotFoundError, NotADirectoryError):
        if folder.parent.parent.name == "cells" and not folder.exists():
            raise UserError("has not begun: `mtlab run` begins it", file=folder) from None
        raise UserError(f"belongs to no run (expected {RUN_NAMES})", file=folder) from None
    if isinstance(config, dict) and "cell" not in config:
        raise UserError("is not the configuration of a run", file=folder / "config.json")
    schemas.check(config, schemas.ConfigFile, folder / "config.json")
    return config


def _names(root: Path) -> list[str]:
    return [path.parent.name for path in root.glob("studies/*/plan.json")]


def _in_store(name: str, root: Path) -> dict[str, Path]:
    store = Store.open(root)
    study, _, rest = name.partition(":")
    if study in store.study_names():
        return {shown: store.run(run) for shown, run in _of_study(store, study, rest, name).items()}
    known = {f"{run.parent.name}/{run.name}": run for run in store.run_folders()}
    found = {run: folder for run, folder in known.items() if name in (run, folder.parent.name)}
    if not found:
        near = known if "/" in name else store.study_names()
        raise UserError(f"no run {name!r} in {store.root} (expected {RUN_NAMES}); {nearest(name, near)}")
    return found


def labels_by_cell(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return what a stored plan calls its cells: of rows that are one cell, as at equal steps and FLOPs, the first.

    Hence `reversed`: of one key's values, a dictionary keeps the last.
    """
    return {row["cell"]: row["label"] for row in reversed(plan["rows"])}


def _of_study(store: Store, study: str, rest: str, name: str) -> dict[str, str]:
    """Look up `VARIANT:SEED` in a study's stored plan; return the ids of the runs by their full names."""
    plan = store.plan(study)
    runs = plan["runs"]
    if not runs:
        raise UserError(f"sweep {study!r} has no run yet: `{sweep_command(plan, store)}` begins it")
    cells = {row["label"]: row["cell"] for row in plan["rows"]}  # two rows may be one cell, with one run a seed
    labels = sorted({run["label"] for run in runs} | cells.keys())
    head, _, tail = rest.rpartition(":")
    label, seed = (head, tail) if tail.isdecimal() and rest not in labels else (rest, None)
    if label and label not in labels:
        raise UserError(f"study {study!r} has no variant {label!r}; {nearest(label, labels)}")
    own = [run for run in runs if label in ("", run["label"]) or run["cell"] == cells.get(label)]
    found = [run for run in own if seed is None or run["seed"] == int(seed)]
    if not found:
        seeds = sorted({run["seed"] for run in own})
        raise UserError(f"{name!r} has no seed {seed}; seeds: {', '.join(map(str, seeds))}")
    return {f"{study}:{label or run['label']}:{run['seed']}": str(run["id"]) for run in found}
