"""Writes an archive of a study: plan, results, figures and environment in one zip file, to attach to a paper.

Only finished runs are in it. What tells of the machine and not of the results is left out: its name, the folders of
the study's file and plug-ins, logs. The study is copied as it was declared, with the paths that it names itself.
Checkpoints are left out unless asked for.
"""

from __future__ import annotations

import json
import platform
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.errors import UserError
from mtlab.report.page.study_page import study_page
from mtlab.report.study_report import build_report
from mtlab.runs import manifest
from mtlab.runs.archive import ABOUT, FORMAT, STORE
from mtlab.runs.checked_json import write_checked_json
from mtlab.runs.store import Store

_EPOCH = (1980, 1, 1, 0, 0, 0)  #: of all members, so that the same study gives the same archive
_OF_STUDY = ("spec.yaml", "looks/*.json")  #: beside the plan
_OF_THIS_MACHINE: Mapping[str, Mapping[str, Any]] = {
    "state.json": {"host": "", "pid": 0},
    "config.json": {"plugin_folder": "."},
}  #: file of a run → what its keys become


@dataclass(frozen=True)
class ArchiveSummary:
    """What was written."""

    path: Path
    runs: int  #: finished ones, which are in it
    asked: int  #: runs of the plan
    files: int
    size: int  #: bytes


def write_archive(store: Store, plan: Mapping[str, Any], path: Path, *, checkpoints: bool = False) -> ArchiveSummary:
    """Write the archive of a study.

    Args:
        store: where its runs are.
        plan: its stored plan.
        path: the file to write, which must not exist.
        checkpoints: with the best checkpoint of each run.

    Raises:
        UserError: the file exists, no run is finished, or the disk is full.

    """
    done = [run["id"] for run in plan["runs"] if store.state(run["id"]) == "done"]
    if path.exists():
        raise UserError("exists already: choose another --out, or remove it", file=path)
    if not done:
        raise UserError(f"no run of {plan['study']!r} is finished yet", file="command line")
    if damaged := [line for run in done if (line := store.damage(run)) is not None]:
        raise UserError(damaged[0])
    with tempfile.TemporaryDirectory() as folder, files.explain_disk_errors(Path(folder)):
        root = Path(folder)
        copy = Store.open(root / STORE, create=True)
        for run in done:
            _copy_run(store, copy, run, checkpoints=checkpoints)
        _copy_study(store, copy, plan)
        _write_beside(root, copy, len(done))
        members = sorted(each for each in root.rglob("*") if each.is_file())
        with files.atomic_write(path) as staging, zipfile.ZipFile(staging, "w", zipfile.ZIP_DEFLATED) as archive:
            for member in members:
                about = zipfile.ZipInfo(member.relative_to(root).as_posix(), _EPOCH)
                about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
                archive.writestr(about, member.read_bytes())
    return ArchiveSummary(path, len(done), len(plan["runs"]), len(members), path.stat().st_size)


def _copy_run(store: Store, copy: Store, run: str, *, checkpoints: bool) -> None:
    """Copy a finished run without what tells of this machine; its checksums are those of the copy."""
    source, target = store.run(run), copy.run(run)
    kept = manifest.read(source)
    for name in [*kept]:
        if not checkpoints and name.startswith("checkpoints/"):
            del kept[name]
            continue
        data = (source / name).read_bytes()
        if name in _OF_THIS_MACHINE:
            data = files.json_text(_without_folders(json.loads(data)) | _OF_THIS_MACHINE[name]).encode()
            kept[name] = manifest.describe(data)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(data)
    write_checked_json(target / manifest.NAME, kept)
    derived = store.derived(run)
    for path in sorted(derived.rglob("*.json")):
        if path.is_file() and path.relative_to(derived).parts[0] != "tracking":
            files.write_json(copy.derived(run) / path.relative_to(derived), _without_folders(files.read_json(path)))


def _without_folders(value: Any) -> Any:
    """Replace each absolute path in the content of a JSON file by its last part."""
    if isinstance(value, dict):
        return {key: _without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_folders(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _copy_study(store: Store, copy: Store, plan: Mapping[str, Any]) -> None:
    name = plan["study"]
    rows = [row | {"differences": _without_folders(row["differences"])} for row in plan["rows"]]
    without = {**plan, "rows": rows, "spec_file": Path(plan["spec_file"]).name, "plugin_folder": ".", "tracking": {}}
    copy.write_plan(name, without)
    for pattern in _OF_STUDY:
        for path in sorted(store.study(name).glob(pattern)):
            files.write_bytes(copy.study(name) / path.relative_to(store.study(name)), path.read_bytes())


def _write_beside(root: Path, copy: Store, done: int) -> None:
    """Write what is read without mtlab: the page with all figures, the table, the packages, and what is what."""
    (name,) = copy.study_names()
    plan = copy.plan(name)
    report = build_report(copy, plan)
    about = {
        "format": FORMAT,
        "study": name,
        "runs": {"finished": done, "asked": len(plan["runs"])},
        "mtlab": metadata.version("mtlab"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    files.write_json(root / ABOUT, about)
    files.write_text(root / "report.html", study_page(copy, plan))
    files.write_text(root / "report.md", report.to_markdown())
    files.write_text(root / "report.json", report.to_json())
    files.write_text(root / "environment.txt", "\n".join(_installed()) + "\n")
    files.write_text(root / "README.md", _readme(name, plan["why"], about))


def _installed() -> Iterator[str]:
    """List the installed packages as pip takes them, without where they come from."""
    found = {each.metadata["Name"]: each.version for each in metadata.distributions() if each.metadata["Name"]}
    for name in sorted(found, key=str.lower):
        yield f"{name}=={found[name]}"


def _readme(name: str, why: str, about: Mapping[str, Any]) -> str:
    runs = about["runs"]
    return f"""# {name}

{why}

{runs["finished"]} of {runs["asked"]} runs are finished. Packed by mtlab {about["mtlab"]}, Python {about["python"]}.

| file | what it is |
|---|---|
| `report.html` | result, figures and provenance on one page; open it in a browser, it needs no network |
| `report.md`, `report.json` | the table, and all numbers of the comparison |
| `environment.txt` | packages on the machine that packed this; each run's own versions are in its `state.json` |
| `store/studies/{name}/spec.yaml` | the study as declared, bases merged in; `plan.json` beside it lists its runs |
| `store/cells/CELL/sSEED/` | a run: configuration, metrics by step, result, recorded layers, outcome of each example |

With mtlab, this file is a store: `mtlab report {name}.zip`, `mtlab figures {name} --store {name}.zip`,
`mtlab dashboard --store {name}.zip`, or `mtlab.frame("{name}.zip")` in Python.
"""
