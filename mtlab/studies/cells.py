"""From the rows of a study to its cells, which have an id: parents looked up, and the length turned into steps.

The seeds of a cell are its runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mtlab.config.hashing import canonical_json
from mtlab.config.load import recipe_folders
from mtlab.errors import UserError, nearest
from mtlab.resolution.identity import NEW_MANAGERS, Identity, cell_identity
from mtlab.resolution.nodes import known_paths
from mtlab.studies.axes import holds, lookup, with_settings
from mtlab.studies.cell_cost import CellCost, CostFunction
from mtlab.studies.cell_rules import touches
from mtlab.studies.expand import StudyRow, expand
from mtlab.studies.spec import StudySpec, read_study


@dataclass(frozen=True)
class Cell:
    """A row with an id."""

    row: StudyRow
    config: dict[str, Any]  #: resolved, `train.length` in steps, `init_from` naming the parent cell
    identity: Identity
    cost: CellCost
    study: str
    plugins: tuple[str, ...]  #: that its runs import
    plugin_folder: Path
    parent: Cell | None = None
    parent_seed: int | None = None  #: the one parent seed that all start from; None: each its own

    @property
    def id(self) -> str:
        """The cell's id."""
        return self.identity.cell

    @property
    def unresolved(self) -> tuple[str, ...]:
        """Names of models whose weights are not available here, its parents' included: the id is provisional."""
        above = self.parent.unresolved if self.parent is not None else ()
        own = (self.config[node].get("model", self.config[node]["name"]) for node in self.identity.unresolved)
        return tuple(sorted({*above, *own}))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a plan says of it, though nothing is wrong."""
        new = " and ".join((self.config["init_from"] or {}).get(NEW_MANAGERS, ()))
        own = f"{self.row.label}: managers of {new} start anew, as their levels are not those of what it starts from"
        return (*self.row.resolved.remarks, *([own] if new else ()))

    @property
    def steps(self) -> int:
        """Optimiser steps of one run."""
        steps: int = self.config["train"]["length"]["steps"]
        return steps


@dataclass
class ParentStudies:
    """Studies that rows start from: each is expanded once, and a circle of parents is refused."""

    open: list[Path] = field(default_factory=list)  #: those being expanded
    cells: dict[Path, tuple[Cell, ...]] = field(default_factory=dict)


def make_cells(study: StudySpec, price: CostFunction, parents: ParentStudies | None = None) -> tuple[Cell, ...]:
    """Make the cells of a study, in the order of its rows.

    Raises:
        UserError: a row is wrong, or its parent cannot be found.

    """
    if parents is None:
        _ = study.trackers  # refuses wrong ones
        parents = ParentStudies()
    resolved = study.path.resolve()
    if resolved in parents.open:
        raise study.error("studies start from each other in a circle", "init_from")
    parents.open.append(resolved)
    try:
        return tuple(make_cell(study, row, price, parents) for row in expand(study))
    finally:
        parents.open.pop()


def make_cell(study: StudySpec, row: StudyRow, price: CostFunction, parents: ParentStudies) -> Cell:
    """Make the cell of one row.

    Raises:
        UserError: its parent or checkpoint cannot be found, or does not fit.

    """
    config = dict(row.config)
    parent, parent_seed = None, None
    start = config["init_from"]
    if isinstance(start, Mapping) and "study" in start:
        parent, parent_seed = _parent(study, row, start, price, parents)
        seed = {} if parent_seed is None else {"seed": parent_seed}
        config["init_from"] = {"cell": parent.id} | seed | _new_managers(parent.config, config)
        trained = {
            kind: parent.config[kind]["lora_rank"] for kind in ("text", "vision") if parent.config[kind]["trainable"]
        }
        _refuse_lost_towers(study, row, trained)
    elif start is not None:
        config["init_from"] = _checkpoint(study, row, start)
    cost = price(config)
    config["train"] = config["train"] | {"length": _in_steps(row, cost)}
    identity = cell_identity(config)
    plugins = tuple(study.keys.plugins)
    return Cell(row, config, identity, cost, study.name, plugins, study.plugin_folder, parent, parent_seed)


def _error(study: StudySpec, row: StudyRow, problem: str, below: str = "") -> UserError:
    """Make an error that names where a row's `init_from` stands: on an axis, under `set`, or beside it."""
    names = (axis for axis, value in row.values.items() if any(touches(path, "init_from") for path in value.settings))
    axis = next(names, None)
    key = "init_from" if "init_from" not in study.keys.set else "set.init_from"
    return study.error(problem, f"{key if axis is None else f'axes.{axis}'}{below}")


def _refuse_lost_towers(study: StudySpec, row: StudyRow, trained: Mapping[str, int | None]) -> None:
    """Refuse a frozen tower that the parent fine-tuned, as a frozen tower is loaded from its own weights.

    Args:
        study: of the row.
        row: whose configuration it is.
        trained: the parent's fine-tuned towers → rank of their adapters, or None without any.

    """
    for kind, theirs in trained.items():
        own = row.config[kind]["lora_rank"]
        if not row.config[kind]["trainable"]:
            problem = f"{row.label!r} freezes the {kind} tower that its parent fine-tunes: set {kind}.trainable to true"
            raise _error(study, row, problem)
        if own != theirs:
            problem = (
                f"{row.label!r} has {kind}.lora_rank {own or 'null'}, its parent {theirs or 'null'}: set them alike"
            )
            raise _error(study, row, problem)


def _in_steps(row: StudyRow, cost: CellCost) -> dict[str, Any]:
    train, length = row.config["train"], row.config["train"]["length"]
    if length["flops"] is not None:
        steps = max(1, round(length["flops"] / (cost.flops_training * train["batch"])))
    elif length["epochs"] is not None:
        examples = row.resolved.dataset.examples["train"]
        exact = round(length["epochs"] * (examples // train["batch"]), 6)  # 2.2 × 50 is 110.00000000000001 in floats
        steps = max(1, math.ceil(exact))
    else:
        steps = length["steps"]
    return {"steps": steps, "epochs": None, "flops": None}


def _checkpoint(study: StudySpec, row: StudyRow, start: Any) -> dict[str, Any]:
    from mtlab.training.init_from import config_beside, digest_checkpoint, trained_towers

    name = start.get("checkpoint") if isinstance(start, Mapping) else start
    if not isinstance(name, str):
        raise _error(
            study,
            row,
            f"expected null, a checkpoint (a file, or a folder of `mtlab import`), or {{study: FILE}}, found {start!r}",
        )
    for key in start if isinstance(start, Mapping) else ():
        if key != "checkpoint":
            raise _error(study, row, "unknown key; beside a checkpoint there is nothing to choose", f".{key}")
    given = Path(name).expanduser()
    beside = (study.path.parent / given).resolve()
    path = beside if beside.exists() else given.resolve()  # from the working folder, as the folders of towers and data
    if path.is_dir():
        return _imported(study, row, path)
    if not path.is_file():
        raise _error(study, row, f"no checkpoint file {beside}{'' if beside == path else f', nor {path}'}")
    try:
        trained = trained_towers(path) if path.suffix == ".safetensors" else {}
        new = _new_managers(config_beside(path), row.config)
    except UserError as error:
        raise _error(study, row, str(error)) from None
    _refuse_lost_towers(study, row, trained)
    return {"checkpoint": str(path), "digest": digest_checkpoint(path)} | new


def _new_managers(parent: Mapping[str, Any] | None, config: Mapping[str, Any]) -> dict[str, Any]:
    """Say which managers start anew, as their levels are not those of the run or file that the others start from."""
    from mtlab.training.init_from import other_levels

    new = [] if parent is None else other_levels(parent, config)
    return {NEW_MANAGERS: new} if new else {}


def _imported(study: StudySpec, row: StudyRow, path: Path) -> dict[str, Any]:
    """Start from an imported checkpoint, towers included: a frozen tower must be the checkpoint's own."""
    from mtlab.runs.imported_checkpoint import TOWER_OPTIONS, is_imported_checkpoint, read_imported_config
    from mtlab.training.init_from import digest_checkpoint

    if not is_imported_checkpoint(path):
        raise _error(study, row, f"{path} is a folder, but no imported checkpoint: see `mtlab import`")
    try:
        own, _ = read_imported_config(path)
        content = digest_checkpoint(path)
    except UserError as error:
        raise _error(study, row, str(error)) from None
    for kind, option in TOWER_OPTIONS.items():
        tower = row.config[kind]
        given = Path(str(tower.get(option, ""))).expanduser().resolve()
        if not tower["trainable"] and given != Path(own[kind][option]):
            problem = (
                f"{row.label!r} freezes another {kind} tower than the checkpoint's: set {kind}.trainable to true, or"
                f" take {kind}.{option} from {path}"
            )
            raise _error(study, row, problem)
    return {"checkpoint": str(path), "digest": content} | _new_managers(own, row.config)


def _parent(
    study: StudySpec, row: StudyRow, start: Mapping[str, Any], price: CostFunction, parents: ParentStudies
) -> tuple[Cell, int | None]:
    for key in start:
        if key not in ("study", "match", "seed"):
            raise _error(study, row, f"unknown key; {nearest(key, ('study', 'match', 'seed'))}", f".{key}")
    seed = start.get("seed", "same")
    if seed != "same" and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
        raise _error(study, row, f"expected same or a seed, found {seed!r}", ".seed")
    path = _study_file(study, row, start["study"])
    if path.resolve() not in parents.cells:
        parents.cells[path.resolve()] = make_cells(_read_parent(study, path), price, parents)
    cells = parents.cells[path.resolve()]
    match = start.get("match", "same")
    if match != "same" and not isinstance(match, Mapping):
        raise _error(study, row, f"expected same or path → value, found {match!r}", ".match")
    for setting in () if match == "same" else match:
        if setting not in (known := known_paths()):
            raise _error(study, row, f"no setting is called {setting!r}; {nearest(setting, known)}", ".match")
    if isinstance(match, Mapping):
        found = [cell for cell in cells if holds(match, cell.config)]
    else:
        found = _counterparts(row, cells)
    if len(found) != 1:
        labels = ", ".join(cell.row.label for cell in found or cells)
        counted = f"{len(found)} cells" if found else "no cell"
        raise _error(study, row, f"{counted} of {path.name} match {row.label!r} ({labels}): say which by `match`")
    return found[0], None if seed == "same" else seed


def _read_parent(study: StudySpec, path: Path) -> StudySpec:
    """Read a study that another one starts from, and import its plug-ins; where it names none, it has the other's."""
    parent = replace(read_study(path), plugins_allowed=study.plugins_allowed)
    if not parent.keys.plugins:
        keys = replace(parent.keys, plugins=study.keys.plugins)
        return replace(parent, keys=keys, plugin_folder=study.plugin_folder)
    parent.import_plugins()
    return parent


def _counterparts(row: StudyRow, cells: Sequence[Cell]) -> list[Cell]:
    """Return the parent's cells with a row's manager, and its values on all axes that both have.

    Where the parent varies a node and the row parts of it, the rest of the node should be the same; it need not, where
    it is in no cell. Of several cells those are taken that have most of these parts in common, too.
    """
    manager = canonical_json(row.config["manager"])
    alike = [cell for cell in cells if canonical_json(cell.config["manager"]) == manager]
    found = [cell for cell in alike if _agree(row, cell, rest=True)] or [
        cell for cell in alike if _agree(row, cell, rest=False)
    ]
    most = max((_common_parts(row, cell) for cell in found), default=0)
    return [cell for cell in found if _common_parts(row, cell) == most]


def _agree(row: StudyRow, cell: Cell, *, rest: bool) -> bool:
    """Compare a row with what its parent varies; `rest`: also nodes of which the row varies parts, but for these."""
    own = _axis_paths(row)
    for theirs in _axis_paths(cell.row):
        parts = _parts(row, theirs)
        if (rest and parts) or any(theirs == path or theirs.startswith(f"{path}.") for path in own):
            mine, other = (with_settings(each.config, dict.fromkeys(parts)) for each in (row, cell.row))
            if canonical_json(lookup(mine, theirs)) != canonical_json(lookup(other, theirs)):
                return False
    return True


def _common_parts(row: StudyRow, cell: Cell) -> int:
    """Count what the row varies within nodes that its parent varies, and the cell has alike."""
    parts = [path for theirs in _axis_paths(cell.row) for path in _parts(row, theirs)]
    return sum(
        canonical_json(lookup(row.config, path)) == canonical_json(lookup(cell.row.config, path)) for path in parts
    )


def _parts(row: StudyRow, node: str) -> list[str]:
    """Return what a row varies within a node."""
    return [path for path in _axis_paths(row) if path.startswith(f"{node}.")]


def _axis_paths(row: StudyRow) -> list[str]:
    """Return what a row's axes set; settings that vary together are compared one by one."""
    return [path for value in row.values.values() for path in value.settings]


def _study_file(study: StudySpec, row: StudyRow, name: Any) -> Path:
    if not isinstance(name, str):
        raise _error(study, row, f"expected a study file, found {name!r}", ".study")
    file = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    folders: Sequence[Path] = (study.path.parent, *recipe_folders())
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    raise _error(study, row, f"no study file {file!r} in {', '.join(map(str, folders))}", ".study")
