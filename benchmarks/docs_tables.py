"""Write the tables of docs/ that are made from benchmarks/results: `make performance`.

A page says where a table stands, and which: `<!-- benchmark: NAME TABLE -->` … `<!-- end of benchmark -->`, of
benchmarks/results/NAME.json. Whatever is between is replaced by the table and a line that says with which command, when
and on what it was measured; of a table that is not there, the page says so. A test notices if a page is not current.
"""

from __future__ import annotations

import re
import sys

from measurements import FOLDER, ROOT, markdown, provenance

from mtlab import files

PAGES = sorted((ROOT / "docs").glob("*.md"))
PLACE = re.compile(r"(<!-- benchmark: (\w+)(?: (\w[\w ]*))? -->\n).*?(<!-- end of benchmark -->)", re.DOTALL)


def written(page: str) -> str:
    """Return a page with its tables made anew.

    Raises:
        ValueError: a page asks for a benchmark that there is not.

    """
    return PLACE.sub(lambda found: f"{found[1]}\n{table(found[2], found[3])}\n\n{found[4]}", page)


def table(name: str, which: str | None) -> str:
    """Write a table and where it comes from, or that nothing has been measured.

    Raises:
        ValueError: there is no such benchmark.

    """
    path = FOLDER / f"{name}.json"
    if not path.exists() and not (ROOT / f"benchmarks/{name}.py").exists():
        raise ValueError(f"there is no benchmarks/{name}.py, of which a page asks for the table {which!r}")
    found = files.read_json(path) if path.exists() else {"tables": {}}
    if which not in found["tables"]:
        return f"Not measured yet: `make bench BENCHMARKS={name}`."
    return f"{markdown(found['tables'][which])}\n\n{provenance(found)}"


def main() -> None:
    """Write all pages."""
    for path in PAGES:
        before = path.read_text()
        after = written(before)
        if after != before:
            files.write_text(path, after)
            print(f"wrote {path}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"docs_tables: {error}")
