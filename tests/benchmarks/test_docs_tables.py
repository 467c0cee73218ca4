"""The tables of docs/ are those of benchmarks/results."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import fmean

import docs_tables
import pytest
from measurements import FOLDER, measurements, parser

RESULTS = sorted(FOLDER.glob("*.json"))
PAGES = [path for path in docs_tables.PAGES if "<!-- benchmark" in path.read_text()]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_tables_are_current(page: Path) -> None:
    text = page.read_text()
    assert docs_tables.written(text) == text, "run `make performance`"
    assert (
        text.count("<!-- benchmark") == text.count("<!-- end of benchmark -->") == len(docs_tables.PLACE.findall(text))
    )


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_result_is_told(path: Path) -> None:
    told = any(f"<!-- benchmark: {path.stem} " in page.read_text() for page in PAGES)
    assert told, "show a table of it in a page of docs/, or do not commit it"


def test_an_edited_number_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with measurements(parser("Made up.").parse_args(["--json", str(tmp_path / "cache.json")])) as tables:
        tables.add("steps", [{"step": "a / b", "CPU": 1.25}])
    monkeypatch.setattr(docs_tables, "FOLDER", tmp_path)
    page = "before\n<!-- benchmark: %s -->\n| a / b | 1.00 |\n<!-- end of benchmark -->\nafter"
    made = docs_tables.written(page % "cache steps")
    assert "1.25" in made
    assert "1.00" not in made
    assert made.startswith("before\n")
    assert made.endswith("\nafter")
    assert docs_tables.written(made) == made
    for unmeasured in ("cache disk", "workers throughput"):
        assert "Not measured yet" in docs_tables.written(page % unmeasured)
    with pytest.raises(ValueError, match=r"no benchmarks/cash\.py"):
        docs_tables.written(page % "cash steps")


def test_the_table_of_precisions_is_that_of_its_runs() -> None:
    with (docs_tables.ROOT / "analysis/results/precision_runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    page = (docs_tables.ROOT / "docs/performance.md").read_text()
    for label in dict.fromkeys(run["label"] for run in runs):
        own = [run for run in runs if run["label"] == label]
        test, area = ([100 * float(run[column]) for run in own] for column in ("test/accuracy", "area"))
        manager, _, precision = label.partition(" · precision ")
        each = ", ".join(f"{value:.1f}" for value in test)
        assert f"| {manager} | {precision} | {each} | {fmean(test):.1f} | {fmean(area):.1f} |" in page
