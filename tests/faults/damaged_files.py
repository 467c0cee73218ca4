"""Every file of a store in every kind of damage, and what commands say of it: exit code, message, next step.

PYTHONPATH=tests/helpers:tests/faults python tests/faults/damaged_files.py --out table.md
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from input_judge import arguments
from input_kinds import _finished_store

from mtlab.cli import main as command_line


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "lost": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "other bytes": lambda path: path.write_bytes(b"\xff\x00\x80 not what it was"),
    "other JSON": lambda path: path.write_bytes(b'[{"a": 1}]'),
    "a folder": _folder,
}
COMMANDS = {
    "status": ("status",),
    "report": ("report", "demo"),
    "plan": ("plan",),
    "clean": ("clean", "--only", "store"),
}
STEP = re.compile(r"`(?:mtlab|wandb)[^`]*`|choose another|pass --replace|move it away|free some space|--[a-z]+ names")


def called(*words: object) -> tuple[int | str, str]:
    """Call the command line; return its exit code, and what it said of anything wrong."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), arguments(tuple(map(str, words))):
        try:
            code: int | str = command_line()
        except BaseException as error:
            return f"{type(error).__name__}", str(error)
    lines = [*err.getvalue().splitlines(), *re.split(r"\n(?=!|damaged|  )", out.getvalue())]
    told = [" ".join(line.split()) for line in lines if "note:" not in line]
    return code, next(
        (line for line in told if re.search("damaged|has changed|is lost|lost its|error|cannot", line)), ""
    )


def rows(root: Path) -> Iterator[tuple[str, str, str, int | str, str]]:
    """Damage one file at a time; yield file, damage, command, exit code and message."""
    whole = root / "whole"
    _finished_store(whole)
    run = next(path.parent for path in sorted(whole.glob("cells/*/s0/result.json")))
    files = ["store.json", "costs.json", "studies/demo/plan.json", "studies/demo/spec.yaml"]
    files += [str(path.relative_to(whole)) for path in sorted(run.iterdir()) if path.is_file()]
    for file in files:
        for kind, damage in DAMAGE.items():
            for name, words in COMMANDS.items():
                place = root / "damaged"
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(whole, place)
                damage(place / file)
                given = (*words, root / "demo.yaml") if name == "plan" else words
                code, told = called(*given, "--store", place)
                yield Path(file).name, kind, name, code, told.replace(str(place), "STORE").replace(str(root), "…")


def main() -> int:
    """Print the table; the exit code says whether a command broke, or refused without a next step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the table here as well")
    asked = parser.parse_args()
    lines, wrong = ["| file | damage | command | code | message | next step |", "|---|---|---|---|---|---|"], 0
    with tempfile.TemporaryDirectory(prefix="mtlab-damage-") as folder:
        for file, kind, name, code, told in rows(Path(folder)):
            step = STEP.search(told)
            bad = code not in (0, 1, 2) or (code == 2 and step is None)
            wrong += bad
            shown = told.replace("|", "/")[:160]
            lines.append(
                f"| {file} | {kind} | {name} | {code}{' !' if bad else ''} | {shown} | {step[0] if step else ''} |"
            )
            print(lines[-1], flush=True)
    print(f"{len(lines) - 2} cases, {wrong} without a next step or broken")
    if asked.out is not None:
        asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
