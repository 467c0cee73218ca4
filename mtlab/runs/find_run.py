"""Finding a finished run by its folder, its id, its checkpoint, or as `STUDY:VARIANT:SEED`. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.errors import UserError, nearest
from mtlab.runs import schemas
from mtlab.runs.store import Store

RUN_NAMES = "a run's folder, a checkpoint, STUDY:VARIANT:SEED, or CELL/sSEED"


@dataclass(frozen=True)
class FinishedRun:
    """A finished run and one of its checkpoints."""

    folder: Path
    checkpoint: Path
    config: Mapping[str, Any]  #: what its `config.json` holds

    @property
    def id(self) -> str:
        """`<cell>/s<seed>`."""
        return f"{self.config['cell']}/s{self.config['seed']}"

    @property
    def title(self) -> str:
        """The run's name in messages."""
        return f"{self.config['label']}, seed {self.config['seed']}"

    @property
    def store(self) -> Store | None:
        """The store that it lies in, if it lies in one."""
        root = self.folder.resolve().parents[2]
        return Store.open(root) if (root / "store.json").is_file() else None


def find_run(name: str | Path, root: Path) -> FinishedRun:
    """Find a finished run.

    Args:
        name: see `RUN_NAMES`. What is unique may be omitted: the seed, the label, `/sSEED`.
        root: the store in which studies and ids are searched.

    Raises:
        UserError: no such run, several that it could be, or one that is not finished.

    """
    path, checkpoint = Path(name).expanduser(), None
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise UserError("no such checkpoint", file=path)
        path, checkpoint = path.absolute().parent.parent, path
    elif not (path / "config.json").is_file():
        if path.is_dir() and str(name) not in _names(root):
            raise UserError(f"is no run's folder (it has no config.json; expected {RUN_NAMES})", file=path)
        path = _in_store(str(name), root)
    config = _config(path)
    if not (path / "result.json").is_file():
        raise UserError("this run is not finished: `mtlab run` goes on with its study, `mtlab status` tells", file=path)
    return FinishedRun(path, checkpoint or path / "checkpoints" / "best.safetensors", config)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = files.read_json(folder / "config.json")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"belongs to no run (expected {RUN_NAMES})", file=folder) from None
    if isinstance(config, dict) and "cell" not in config:
        raise UserError("is not the configuration of a run", file=folder / "config.json")
    schemas.check(config, schemas.ConfigFile, folder / "config.json")
    return config


def _names(root: Path) -> list[str]:
    return [path.parent.name for path in root.glob("studies/*/plan.json")]


def _in_store(name: str, root: Path) -> Path:
    store = Store.open(root)
    study, _, rest = name.partition(":")
    if study in store.study_names():
        return store.run(_of_study(store, study, rest, name))
    cell, slash, _ = name.partition("/")
    known = sorted(store.root.glob("cells/*/s*"))
    found = [run for run in known if name in (run.parent.name, f"{run.parent.name}/{run.name}")]
    if len(found) > 1:
        seeds = ", ".join(f"{cell}/{run.name}" for run in found)
        raise UserError(f"{name!r} has several seeds: name one of {seeds}")
    if not found:
        near = [f"{run.parent.name}/{run.name}" for run in known] if slash else store.study_names()
        raise UserError(f"no run {name!r} in {store.root} (expected {RUN_NAMES}); {nearest(name, near)}")
    return found[0]


def _of_study(store: Store, study: str, rest: str, name: str) -> str:
    """Look up `VARIANT:SEED` in a study's stored plan."""
    runs = store.plan(study)["runs"]
    labels = sorted({run["label"] for run in runs})
    head, _, tail = rest.rpartition(":")
    label, seed = (head, tail) if tail.isdecimal() and rest not in labels else (rest, None)
    if label and label not in labels:
        raise UserError(f"study {study!r} has no variant {label!r}; {nearest(label, labels)}")
    found = [run for run in runs if label in ("", run["label"]) and (seed is None or run["seed"] == int(seed))]
    if not found:
        seeds = sorted({run["seed"] for run in runs if label in ("", run["label"])})
        raise UserError(f"{name!r} has no seed {seed}; seeds: {', '.join(map(str, seeds))}")
    if len(found) > 1:
        some = ", ".join(f"{study}:{run['label']}:{run['seed']}" for run in found[:4])
        raise UserError(f"{name!r} could be {len(found)} runs: name one, such as {some}")
    return str(found[0]["id"])
