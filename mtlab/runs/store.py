"""The run store on disk: cells, runs and studies (format 1).

```
store.json                   {"format": 1}
cells/<cell>/s<seed>/        one run: created whole with its config.json by the launcher, then written by its worker
studies/<name>/              spec.yaml, plan.json, launch.jsonl, report/
derived/<cell>/s<seed>/      results computed from a finished run later
```
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from mtlab import files
from mtlab.config.load import composed_text
from mtlab.errors import UserError, nearest
from mtlab.runs import schemas
from mtlab.runs.archive import is_archive, unpacked
from mtlab.runs.checked_json import read_checked_json, write_checked_json
from mtlab.runs.damage import describe_damage
from mtlab.runs.lock import guard, lock_state
from mtlab.runs.results import numeric_rows, read_result

FORMAT = 1
PLAN_FORMAT = 2  #: of `plan.json`
FINAL = "-final"  #: ends the name of the study of a sweep's winners
FINAL_FILE = "final.yaml"  #: in a sweep's folder: the study of its winners

State = Literal["new", "running", "done", "failed", "interrupted", "blocked"]
PLAN_ANEW = "`mtlab plan FILE` writes it anew (`mtlab sweep plan FILE` that of a sweep)"  #: a damaged or lost plan
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  #: of a study or cell, as it names a folder
NAME_RULE = "letters, digits, '.', '_' and '-' (80 at most)"


def store_root(option: Path | str | None = None) -> Path:
    """Return where the store is: `--store`, else `MTLAB_STORE`, else `./runs`."""
    return Path(option or os.environ.get("MTLAB_STORE") or "runs").expanduser().absolute()


def run_id(cell: str, seed: int) -> str:
    """Return the id of a run: `<cell>/s<seed>`."""
    return f"{cell}/s{seed}"


@dataclass(frozen=True)
class Store:
    """An open store. Make one by `Store.open`."""

    root: Path
    archive: Path | None = None  #: the zip file that it was unpacked from, for reading alone

    @classmethod
    def open(cls, root: Path, *, create: bool = False) -> Self:
        """Open the store at `root`.

        Args:
            root: its folder, see `store_root`; or an archive of `mtlab bundle`, which is unpacked for this process.
            create: make it if it is missing, and make sure that it can be written.

        Raises:
            UserError: it is missing, not a store, of a newer format, or cannot be written.

        """
        archive = root if is_archive(root) else None
        if archive is not None:
            if create:
                raise UserError("is an archive, to be read alone: choose another --store (or MTLAB_STORE)", file=root)
            root = unpacked(archive)
        marker = root / "store.json"
        if not _exists(marker):
            names = [entry.name for entry in root.iterdir()] if root.is_dir() else []
            if any(not name.startswith(files.TEMPORARY) for name in names):  # left by processes that were killed
                raise UserError("is a folder, but not a store: choose another --store (or MTLAB_STORE)", file=root)
            if not create:
                raise UserError(
                    "no store here: `mtlab run FILE` makes one; --store or MTLAB_STORE name another", file=root
                )
            try:
                files.write_json(marker, {"format": FORMAT})
            except FileNotFoundError:  # as /proc says it
                raise UserError("cannot be made here: choose another --store (or MTLAB_STORE)", file=root) from None
        if marker.is_dir():
            raise UserError("is a folder (expected a file): move it away, or choose another --store", file=marker)
        content = _read(marker, schemas.StoreFile)
        if content is None:  # damaged: there is one format, so its content is known
            content = {"format": FORMAT}
            if create:
                files.write_json(marker, content)
        if content["format"] != FORMAT:
            raise UserError(
                f"the store has format {content['format']}, this mtlab knows format {FORMAT}: update mtlab, or choose "
                "another --store",
                file=marker,
            )
        if create:
            files.check_folder(root)
        return cls(root, archive)

    def check_writable(self) -> None:
        """Check that this is no archive: what is written into its copy is lost when this process ends.

        Raises:
            ReadOnlyError: it is one.

        """
        if self.archive is not None:
            raise files.ReadOnlyError("is an archive, to be read alone", file=self.archive)

    # Paths

    def run(self, run: str) -> Path:
        """Return the directory of the run `<cell>/s<seed>`."""
        return self._run(self.root / "cells", run)

    def derived(self, run: str) -> Path:
        """Return the folder of results that are computed from a finished run later."""
        return self._run(self.root / "derived", run)

    def study(self, name: str) -> Path:
        """Return the folder of a study.

        Raises:
            UserError: the name cannot be that of a folder.

        """
        if not NAME.fullmatch(name):
            raise UserError(f"{name!r} is no name for a study: {NAME_RULE}", key="name")
        return self.root / "studies" / name

    @staticmethod
    def _run(within: Path, run: str) -> Path:
        cell, _, seed = run.partition("/")
        if not (NAME.fullmatch(cell) and re.fullmatch(r"s\d+", seed)):
            raise ValueError(f"{run!r} is no run id (expected <cell>/s<seed>)")
        return within / cell / seed

    # Runs

    def run_folders(self) -> Iterator[Path]:
        """Yield the directories of all runs, in order."""
        for folder in sorted((self.root / "cells").glob("*/s*")):
            if folder.is_dir() and re.fullmatch(r"s\d+", folder.name):
                yield folder

    def create_run(self, run: str, config: Mapping[str, Any]) -> Path:
        """Make the directory of a run with its `config.json` atomically; keep one that exists.

        Options that are no part of the run's id (threads, micro-batch, recording) are updated in it, unless it is
        finished or being worked on.

        Raises:
            UserError: the existing run has another identity.

        """
        directory, wanted = self.run(run), json.loads(json.dumps(config))
        path = directory / "config.json"
        existing = _read(path)
        if existing == wanted:
            return directory
        with files.explain_disk_errors(directory):
            directory.parent.mkdir(parents=True, exist_ok=True)
        with guard(directory):
            existing = _read(path)
            if existing is not None and existing.get("identity") != wanted.get("identity"):
                raise UserError(
                    f"run {run} exists with another configuration, changed by hand: undo that, or remove its folder",
                    file=path,
                )
            if existing is None or (existing != wanted and self.state(run) not in ("done", "running")):
                _place_config(directory, wanted)
        return directory

    def state(self, run: str) -> State:
        """Return a run's state by its directory alone; whether it is `blocked` depends on its parents, see `states`."""
        directory = self.run(run)
        if (directory / "result.json").exists():
            return "done"
        if lock_state(directory) in ("live", "unsure"):
            return "running"
        if (directory / "result.json").exists():  # finished in the meantime
            return "done"
        if (directory / "failure.json").exists():
            return "failed"
        return "interrupted" if (directory / "state.json").exists() else "new"

    def states(self, plan: Mapping[str, Any]) -> dict[str, State]:
        """Return the state of every run of a plan; those that wait for a failed run are `blocked`."""
        states = {run["id"]: self.state(run["id"]) for run in plan["runs"]}
        return states | dict.fromkeys(find_blocked(plan, states), "blocked")

    def config(self, run: str) -> dict[str, Any] | None:
        """Read a run's `config.json`: resolved configuration, identity, label, parents; None if `damage` names it."""
        return _read(self.run(run) / "config.json", schemas.ConfigFile)

    def result(self, run: str) -> dict[str, Any] | None:
        """Read the result of a finished run; None of any other.

        Raises:
            UserError: it has changed since it was written, or is damaged.

        """
        try:
            return read_result(self.run(run))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def failure(self, run: str) -> dict[str, Any] | None:
        """Read the failure of a run's last attempt; None if it has not failed, its worker was killed, or is damaged."""
        return _read(self.run(run) / "failure.json", schemas.FailureFile)

    def run_state(self, run: str) -> dict[str, Any] | None:
        """Read a run's `state.json`: attempt, host, device, versions, commit; None before it starts, or if damaged."""
        return _read(self.run(run) / "state.json", schemas.StateFile)

    def damage(self, run: str) -> str | None:
        """Say which files of a run are damaged, and what to do; None if none is. See `damage.describe_damage`."""
        return describe_damage(self.run(run))

    def metrics(self, run: str) -> list[dict[str, Any]]:
        """Read the metrics so far, one row per logged step."""
        return numeric_rows(files.read_jsonl(self.run(run) / "metrics.jsonl"))

    # Studies

    def study_names(self) -> list[str]:
        """Return the names of all studies with a plan, sorted."""
        return sorted(path.parent.name for path in (self.root / "studies").glob("*/plan.json"))

    def check_claim(self, name: str, spec_path: Path, text: str, *, replace: bool = False) -> bool:
        """Return whether a study's name belongs to another file, which `replace` allows.

        A study belongs to one file: that of its stored plan. A file elsewhere that declares the same (`text`, as
        `config.load.composed_text` has it) is the same study.

        Raises:
            UserError: it does, and `replace` is False.

        """
        folder = self.study(name)
        plan, stored = _read(folder / "plan.json"), self.study_text(name)
        owner = plan.get("spec_file") if plan is not None else None
        if owner is None:  # no plan yet, or a damaged one: whose it was, only the text tells
            foreign = stored is not None and _exists(folder / "plan.json") and stored != text
        else:
            foreign = not self._is_file(Path(owner), spec_path) and stored != text
        if foreign and not replace:
            whose = f"was made from {owner} already" if owner else "has a damaged plan, perhaps of another file"
            advice = "choose another name, or pass --replace (in Python replace=True)"
            raise UserError(f"a study {name!r} {whose}: {advice}", file=spec_path, key="name")
        return foreign

    def _is_file(self, stored: Path, path: Path) -> bool:
        """Return whether a stored path is that of a file; within a store, which may have been moved, its end counts."""
        stored, path, root = stored.resolve(), path.resolve(), self.root.resolve()
        if not path.is_relative_to(root / "studies"):
            return stored == path
        inside = path.relative_to(root).parts
        return stored.parts[-len(inside) :] == inside

    def study_text(self, name: str) -> str | None:
        """Return what a study's file and its bases declared when it was planned, as YAML; None if lost or damaged."""
        try:
            return files.read_text(self.study(name) / "spec.yaml")
        except (FileNotFoundError, NotADirectoryError, UserError):
            return None

    def claim_study(self, name: str, spec_path: Path, text: str, *, replace: bool = False) -> Path:
        """Assign a study's name to a file, and store what it declares; return the study's folder. See `check_claim`.

        Raises:
            UserError: as `check_claim`.

        """
        folder = self.study(name)
        if self.check_claim(name, spec_path, text, replace=replace):
            (folder / "plan.json").unlink()
        if self.study_text(name) != text:
            files.write_text(folder / "spec.yaml", text)
        return folder

    def write_plan(self, name: str, plan: Mapping[str, Any]) -> Path:
        """Store the plan of a study; return its path. A study stays its first file's while that is there unchanged."""
        path = self.study(name) / "plan.json"
        content = {"format": PLAN_FORMAT, **plan}
        owner = (_read(path) or {}).get("spec_file")
        if owner not in (None, content.get("spec_file")) and _declares(Path(owner), self.study_text(name)):
            content["spec_file"] = owner  # this one was planned from a copy
        write_checked_json(path, content)
        return path

    def plan(self, name: str) -> dict[str, Any]:
        """Read the stored plan of a study.

        Raises:
            UserError: there is none (the nearest name is offered), or it has changed since it was written.

        """
        try:
            return read_plan(self.study(name) / "plan.json")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"no study {name!r} in {self.root}; {nearest(name, self.study_names())}") from None

    def log_launch(self, name: str, event: Mapping[str, Any]) -> None:
        """Append an event to the study's `launch.jsonl`: what workers cannot write themselves."""
        files.append_line(self.study(name) / "launch.jsonl", event)


def _declares(path: Path, text: str | None) -> bool:
    """Return whether a file is there, and declares what was stored."""
    try:
        return path.is_file() and composed_text(path) == text
    except UserError:  # it cannot be read any more
        return False


def read_plan(path: Path) -> dict[str, Any]:
    """Read a `plan.json`, without its checksum.

    Raises:
        FileNotFoundError: there is none.
        UserError: it has changed since it was written, or is of another version of mtlab.

    """
    plan = read_checked_json(path, PLAN_ANEW)
    if plan["format"] != PLAN_FORMAT:
        raise UserError(f"has format {plan['format']}, this mtlab knows format {PLAN_FORMAT}: {PLAN_ANEW}", file=path)
    return plan


def is_sweep(plan: Mapping[str, Any]) -> bool:
    """Return whether a stored plan, or the content of a file, is that of a sweep."""
    return plan.get("kind") == "sweep"


def metric_direction(plan: Mapping[str, Any], metric: str) -> str:
    """Return which way a metric of a stored plan is better, "max" or "min"; a family's is that of the whole."""
    directions: Mapping[str, str] = plan["directions"]
    return directions[metric] if metric in directions else directions["/".join(metric.split("/")[:2])]


def final_name(sweep: str) -> str:
    """Return the name of the study that compares a sweep's winners."""
    return f"{sweep}{FINAL}"


def find_blocked(plan: Mapping[str, Any], states: Mapping[str, str]) -> set[str]:
    """Return the runs of a plan that have not begun, or were cut off, and wait for a run that has failed."""
    blocked: set[str] = set()
    changed = True
    while changed:
        changed = False
        for run in plan["runs"]:
            if (
                run["id"] not in blocked
                and states[run["id"]] in ("new", "interrupted")
                and any(parent in blocked or states.get(parent) == "failed" for parent in run["parents"])
            ):
                blocked.add(run["id"])
                changed = True
    return blocked


def _place_config(directory: Path, config: Any) -> None:
    """Put `config.json` into a run directory, which is made if it is missing; called under the run's guard.

    It is written beside the run directory, then renamed, as only a run's worker may leave temporary files in it. The
    temporary files of a launcher that was killed are removed.
    """
    staging = directory.parent / f"{files.TEMPORARY}{directory.name}"
    shutil.rmtree(staging, ignore_errors=True)
    files.write_json(staging / "config.json", config)
    if directory.exists():
        os.replace(staging / "config.json", directory / "config.json")
        staging.rmdir()
    else:
        os.rename(staging, directory)
    files.sync_folder(directory.parent)


def _exists(path: Path) -> bool:
    """Return whether there is something under this name, be it damaged, or a folder."""
    return path.exists() or path.is_symlink()


def _read(path: Path, schema: Any = dict[str, Any]) -> dict[str, Any] | None:
    """Read a JSON file; None if there is none, or it is damaged."""
    try:
        return schemas.read(path, schema)
    except (FileNotFoundError, NotADirectoryError, UserError):
        return None
