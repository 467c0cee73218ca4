"""`mtlab report` as it is typed: formats by option or by the file's ending, several studies, wrong input."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mtlab.cli import main

CELLS = ["last", "bridge", "static", "adaptive"]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(four, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `mtlab report …` on a store with the studies `trial` and `other`; return code, output, errors."""
    for name in ("trial", "other"):
        four.store.study(name).mkdir(parents=True)
        four.store.write_plan(name, four.plan(CELLS, study=name))
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mtlab", "report", *map(str, arguments), "--store", str(four.store.root)])
        code = main()
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.mark.parametrize(
    ("ending", "begins"),
    [
        ("tex", "% needs \\usepackage{booktabs,siunitx}"),
        ("csv", "study,label,"),
        ("md", "# trial"),
        ("json", "{"),
        ("svg", "<svg"),
    ],
)
def test_the_files_ending_says_the_format_as_the_option_does(
    call: Call, tmp_path: Path, ending: str, begins: str
) -> None:
    path = tmp_path / f"table.{ending}"
    code, out, _ = call("trial", "--out", path)
    assert (code, out.strip()) == (0, f"written to {path}")
    assert path.read_text(encoding="utf-8").startswith(begins)
    code, out, _ = call("trial", "--format", ending)
    assert code == 0
    if ending != "svg":  # its names for styles are drawn anew each time
        assert out == path.read_text(encoding="utf-8")


def test_by_family_in_every_format(call: Call) -> None:
    code, out, _ = call("trial", "--by", "family")
    assert code == 0
    assert out.startswith("trial: by family")
    assert "9 comparisons over all families" in " ".join(out.split())
    assert (
        "trial,last,last,,last,measured,test/accuracy,colour," in call("trial", "--by", "family", "--format", "csv")[1]
    )
    assert r"\label{tab:trial-families}" in call("trial", "--by", "family", "--format", "tex")[1]
    assert call("trial", "--by", "family", "--format", "md")[1].startswith("# trial: by family")
    assert call("trial", "--by", "family", "--format", "svg")[1].startswith("<svg")
    assert json.loads(call("trial", "--by", "family", "--json")[1])["families"].keys() == {
        "colour",
        "count",
        "existence",
    }


def test_two_studies_side_by_side(call: Call) -> None:
    code, out, _ = call("trial", "other")
    assert code == 0
    assert out.count("80.4 ± 2.6 †") == 2
    assert "Each study is tested and corrected by itself" in " ".join(out.split())
    assert [each["study"] for each in json.loads(call("trial", "other", "--json")[1])["studies"]] == ["trial", "other"]
    assert call("trial", "other", "--format", "csv")[1].count("\n") == 9
    assert r"\label{tab:trial-other}" in call("trial", "other", "--format", "tex")[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trial", "othr"], "othr: no such file, no study of that name in the store, and no recipe"),
        (["trial", "trial"], "name each study once"),
        (["trial", "other", "--by", "family"], "--by family takes one study at a time"),
        (["trial", "--format", "word"], "'word' is not one of 'md', 'json', 'svg', 'tex', 'csv'"),
        (["trial", "--by", "seed"], "'seed' is not"),
        ([], "Missing argument 'FILE...'"),
    ],
)
def test_wrong_input_is_told_in_one_line(call: Call, arguments: list[str], expected: str) -> None:
    code, _, errors = call(*arguments)
    assert code == 2
    assert expected in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
