"""What a benchmark measured: tables for people, and the same tables as JSON, with machine, versions, commit and date.

The rows of a table are as people read them, on the console and in docs/: column → text, number or `Ratio`. Ratios are
the result; seconds are context, of one machine on one day.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alternating import ROUNDS, Ratio

from mtlab import files

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).with_name("results")
QUICK = 3  #: rounds
Cell = str | int | float | Ratio | Mapping[str, float] | None
Row = Mapping[str, Cell]


def parser(doc: str | None, *, rounds: int = ROUNDS, quick: str = "") -> argparse.ArgumentParser:
    """Make the parser of a benchmark, with the options that all have.

    Args:
        doc: the module's docstring.
        rounds: by default.
        quick: what `--quick` does beside fewer rounds.

    """
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help=f"(default: {rounds})")
    made.add_argument("--quick", action="store_true", help=", ".join(filter(None, (f"at most {QUICK} rounds", quick))))
    made.add_argument("--json", type=Path, metavar="FILE", help="write the tables to this file too")
    return made


class Tables:
    """Tables of a benchmark, printed as they come."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {}

    def add(self, name: str, rows: Sequence[Row]) -> None:
        """Print rows, and add them to a table."""
        self.rows.setdefault(name, []).extend(rows)
        print(f"\n{name}\n{markdown([as_data(row) for row in rows])}", flush=True)


@contextmanager
def measurements(asked: argparse.Namespace) -> Iterator[Tables]:
    """Say on what is measured, yield what takes the tables, and write them to `--json` at the end.

    Args:
        asked: the options of `parser`; with `--quick`, rounds are cut.

    """
    if asked.quick:
        asked.rounds = min(asked.rounds, QUICK)
    found = {
        "command": command(),
        "rounds": asked.rounds,
        **circumstances(gpu=getattr(asked, "device", "cpu") == "cuda"),
    }
    print(provenance(found), flush=True)
    tables = Tables()
    yield tables
    found["load"].append(others())
    found["tables"] = {name: [as_data(row) for row in rows] for name, rows in tables.rows.items()}
    if asked.json:
        files.write_json(asked.json, found)


def command() -> str:
    """Return the command line of this process, without the file that it writes."""
    script, *words = sys.argv
    if "--json" in words:
        at = words.index("--json")
        del words[at : at + 2]
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *words])


def circumstances(*, gpu: bool) -> dict[str, Any]:
    """Tell where, when and of which code something is measured."""
    import torch

    known = platform.freedesktop_os_release() if sys.platform == "linux" else {}
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--", "mtlab", "benchmarks/*.py")),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "system": f"{known.get('PRETTY_NAME', platform.system())}, kernel {platform.release().partition('-')[0]}",
            "gpu": torch.cuda.get_device_name() if gpu else None,
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("torch", "transformers")},
        "load": [others()],
    }


def processor() -> str:
    """Name the processor."""
    described = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    words = [line.partition(":") for line in described.splitlines()]
    found = {key.strip(): value.strip() for key, _, value in reversed(words)}  # of the first core
    if "model name" not in found:
        return platform.processor() or platform.machine()
    # A virtual machine names no more than "AMD EPYC"; these two tell which.
    return f"{found['model name']} (family {found.get('cpu family', '?')}, model {found.get('model', '?')})"


def others() -> int | None:
    """Count the other processes that compute or wait for a core at this moment, on Linux."""
    states = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            states.append(path.read_text().rpartition(")")[2].split()[0])
        except OSError:  # it has ended
            continue
    return states.count("R") - 1 if states else None


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def provenance(found: Mapping[str, Any]) -> str:
    """Say in a line by which command, when and on what something was measured."""
    machine, versions = found["machine"], found["versions"]
    load = sorted({each for each in found["load"] if each is not None})
    busy = f", {' to '.join(map(str, load))} other processes at work" if load else ""
    device = machine["gpu"] or f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB"
    return (
        f"`{found['command']}`, {datetime.fromisoformat(found['date']):%-d %B %Y}, commit {found['commit'][:7]}"
        f"{' with changes' * found['changed']}: {found['rounds']} round{'s' * (found['rounds'] != 1)} on "
        f"{device}, torch {versions['torch']}{busy}"
    )


def as_data(row: Row) -> dict[str, Any]:
    """Turn a row into what JSON holds: numbers of four digits, a ratio as an object."""
    return {column: _data(cell) for column, cell in row.items()}


def _data(cell: Cell) -> Any:
    if isinstance(cell, Ratio):
        cell = asdict(cell)
    if isinstance(cell, Mapping):
        return {name: _data(number) for name, number in cell.items()}
    return float(f"{cell:.4g}") if isinstance(cell, float) else cell


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows of JSON as a Markdown table, with all columns that any of them has."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[text(row.get(column)) for column in columns] for row in rows]
    numbers = [not any(isinstance(row.get(column), str) for row in rows) for column in columns]
    widths = [max(4, *map(len, each)) for each in zip(columns, *cells, strict=True)]
    lines = [[column.ljust(width) for column, width in zip(columns, widths, strict=True)]]
    lines += [[f"{'-' * (width - 1)}{':' if number else '-'}" for width, number in zip(widths, numbers, strict=True)]]
    for row in cells:
        aligned = zip(row, widths, numbers, strict=True)
        lines.append([cell.rjust(width) if number else cell.ljust(width) for cell, width, number in aligned])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(cell: Any) -> str:
    """Format a cell: numbers with three digits, a ratio with its smallest and largest in brackets."""
    if cell is None:
        return ""
    if isinstance(cell, Mapping):
        return f"{text(cell['median'])} ({text(cell['low'])}–{text(cell['high'])})"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:#.3g}".rstrip(".")
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
