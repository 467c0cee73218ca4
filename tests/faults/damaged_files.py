"""Every file of a store in every kind of damage, and what commands say of it: exit code, message, next step.

PYTHONPATH=tests/helpers:tests/faults python tests/faults/damaged_files.py --write   # docs/damaged-files.md
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from input_judge import arguments
from input_kinds import finished_store

from mtlab.cli import main as command_line

DOCS = Path(__file__).parents[2] / "docs" / "damaged-files.md"
HEAD = """# Damaged files

What commands say when a file of a finished study is damaged: `status`, `report` and `plan` of the study, and `clean`.
Written by `PYTHONPATH=tests/helpers:tests/faults python tests/faults/damaged_files.py --write`. {cases} cases, of which
{unfair} broke or were refused without a next step. Exit code 2: refused.
`STORE` is the store's folder, `CELL` a cell's id, `N bytes` a size.
[reliability.md](reliability.md) says what mtlab does about damage.

"""


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
STEP = re.compile(
    r"`(?:mtlab|wandb)[^`]*`|choose another|pass --replace|move it away|free some space|add --yes|--[a-z]+ names"
)


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
    message = next((line for line in told if re.search("damaged|has changed|is lost|lost its|error|cannot", line)), "")
    if message and not STEP.search(message):  # `clean` says it at its end
        message += next((f" … {line}" for line in told if STEP.search(line)), "")
    return code, message


def rows(root: Path, kinds: Iterable[str]) -> Iterator[tuple[str, str, str, int | str, str]]:
    """Damage one file at a time; yield file, damage, command, exit code and message."""
    whole = root / "whole"
    finished_store(whole)
    run = next(path.parent for path in sorted(whole.glob("cells/*/s0/result.json")))
    files = ["store.json", "studies/demo/plan.json", "studies/demo/spec.yaml"]
    files += [str(path.relative_to(whole)) for path in sorted(run.iterdir()) if path.is_file()]
    for file in files:
        for kind in kinds:
            for name, words in COMMANDS.items():
                place = root / "runs"
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(whole, place)
                DAMAGE[kind](place / file)
                given = (*words, root / "demo.yaml") if name == "plan" else words
                code, told = called(*given, "--store", place)
                yield Path(file).name, kind, name, code, told.replace(str(place), "STORE").replace(str(root), "…")


@dataclass(frozen=True)
class Case:
    """One damage, and what a command said."""

    file: str
    damage: str
    command: str
    code: int | str
    told: str

    @property
    def step(self) -> str:
        """The next step that it names; empty without one."""
        found = STEP.search(self.told)
        return found[0] if found else ""

    @property
    def unfair(self) -> bool:
        """Whether the command broke, or refused without a next step."""
        return self.code not in (0, 1, 2) or (self.code == 2 and not self.step)


def table(cases: Sequence[Case]) -> str:
    """Write the cases as a table; a row has the damages of a file that the same commands answer alike."""
    damages: dict[tuple[str, str, str], list[str]] = {}  #: file, command, the answer's columns → kinds of damage
    for case in cases:
        told = re.sub(r"\b[0-9a-f]{12}\b", "CELL", case.told).replace("|", "/").replace("`", "'")
        told = re.sub(r"\d+(\.\d+)? (bytes|kB)", "N bytes", told)
        message = f"`{told}`" if told else "nothing: the file is not needed, or was made anew"
        key = (case.file, case.command, f"{case.code} | {message} | {case.step}")
        damages.setdefault(key, []).append(case.damage)
    commands: dict[tuple[str, str, str], list[str]] = {}
    for (file, command, answer), kinds in damages.items():
        commands.setdefault((file, ", ".join(kinds), answer), []).append(command)
    lines = ["| file | damage | command | code | message | next step |", "|---|---|---|---|---|---|"]
    for (file, kinds, answer), named in commands.items():
        lines.append(f"| {file} | {kinds} | {', '.join(named)} | {answer} |")
    return "\n".join(lines)


def main() -> int:
    """Print the table; the exit code says whether a command broke, or refused without a next step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {DOCS.name}")
    parser.add_argument("--damage", nargs="*", default=list(DAMAGE), choices=list(DAMAGE), help="these kinds alone")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mtlab-damage-") as folder:
        cases = []
        for row in rows(Path(folder), asked.damage):
            cases.append(Case(*row))
            print(*row, sep=" · ", flush=True)
    unfair = [case for case in cases if case.unfair]
    print(f"{len(cases)} cases, {len(unfair)} without a next step or broken", *unfair, sep="\n")
    if asked.write:
        DOCS.write_text(HEAD.format(cases=len(cases), unfair=len(unfair)) + table(cases) + "\n", encoding="utf-8")
    return 1 if unfair else 0


if __name__ == "__main__":
    sys.exit(main())
