"""What a benchmark writes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from alternating import Ratio
from measurements import QUICK, markdown, measurements, parser, text

from mtlab import files

ROW = {"step": "a / b", "CPU": Ratio(1.23456, 1.0, 2.0, 3), "s": 0.5, "runs": 1000, "goal": None}


def test_tables_are_written_with_machine_versions_commit_and_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results" / "made.json"
    words = ["--quick", "--json", str(out), "--rounds", "9"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/made.py", *words])
    with measurements(parser("Made up.").parse_args(words)) as tables:
        tables.add("ratios", [ROW])
        tables.add("ratios", [ROW])
    found = files.read_json(out)
    assert found["command"] == "python benchmarks/made.py --quick --rounds 9"
    assert found["rounds"] == QUICK
    assert found["machine"].keys() >= {"processor", "cores", "threads", "memory_gib", "system", "gpu"}
    assert found["versions"].keys() >= {"python", "torch", "transformers"}
    assert found.keys() >= {"date", "commit", "changed"}
    assert len(found["load"]) == 2
    row = {**ROW, "CPU": {"median": 1.235, "low": 1.0, "high": 2.0, "rounds": 3}}
    assert found["tables"] == {"ratios": [row, row]}
    assert markdown([row]) in capsys.readouterr().out


def test_one_that_failed_leaves_the_results_before_it(tmp_path: Path) -> None:
    out = tmp_path / "made.json"
    out.write_text("before")
    with (
        pytest.raises(ZeroDivisionError),
        measurements(parser("Made up.").parse_args(["--json", str(out)])) as tables,
    ):
        tables.add("ratios", [{"CPU": 1 / 0}])
    assert out.read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (0.01234, "0.0123"),
        (1.5, "1.50"),
        (99.99, "100"),
        (1234.5, "1,234"),
        (10000, "10,000"),
        (None, ""),
        ({"median": 1.02, "low": 0.991, "high": 1.1, "rounds": 7}, "1.02 (0.991–1.10)"),
    ],
)
def test_numbers_have_three_digits(cell: object, shown: str) -> None:
    assert text(cell) == shown


def test_columns_are_those_of_all_rows() -> None:
    table = markdown([{"a": "x"}, {"a": "y", "b": 2}])
    assert [line.split("|")[2].strip() for line in table.splitlines()] == ["b", "---:", "", "2"]
