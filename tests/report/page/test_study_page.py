"""The page of a study as text: whole, escaped, and in words about all that is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mtlab.cli import main
from mtlab.report.figures import theme
from mtlab.report.page import study_figures
from mtlab.report.page.study_page import study_page
from mtlab.report.study import StudyResults

EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'


def without_plotly(page: str) -> str:
    """The page without the library, which holds all sorts of things."""
    return re.sub(r"<script>/\*\*\s*\* plotly\.js.*?</script>", "", page, flags=re.DOTALL)


def galleries(page: str) -> dict[str, Any]:
    """Name → what its selectors offer, and its figures."""
    sections = re.findall(r'<section class="gallery" id="([\w-]+)">(.*?)</section>', page, flags=re.DOTALL)
    data = [
        re.search(r'<script[^>]*class="figures"[^>]*>(.*?)</script>', content, re.DOTALL) for _, content in sections
    ]
    return {name: json.loads(found[1]) for (name, _), found in zip(sections, data, strict=True) if found}


ALONE = """
import sys
from pathlib import Path
from mtlab.report.page.study_page import study_page
from mtlab.runs.store import Store

store = Store.open(Path(sys.argv[1]))
page = study_page(store, store.plan("trial"))
print(sorted({"torch", "pandas", "transformers", "dash"} & set(sys.modules)), page, sep="\\n")
"""


def test_the_page_is_one_file_with_everything_and_made_without_torch(fabric, recorded_study) -> None:  # type: ignore[no-untyped-def]
    recorded_study()
    command = [sys.executable, "-c", ALONE, str(fabric.store.root)]
    output = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    imported, _, page = output.partition("\n")
    assert imported == "[]"
    assert "data:image/" in page
    assert page.count("plotly.js v") == 1
    own = without_plotly(page)
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", own)
    assert "Content-Security-Policy" in own
    for expected in (
        "Which is best?",
        "no difference",
        "test/accuracy, in points (100 × share)",
        "By family of questions",
        "manager.weight",
        "mtlab run trial.yaml",
        "Machines and programs",
        "2.13.0",
        "q23",
    ):
        assert expected in own, expected
    found = galleries(page)
    assert {
        "comparison",
        "aggregation",
        "heatmaps",
        "worth",
        "agreement",
        "speed",
        "curves",
        "evolution",
        "difference",
    } <= found.keys()
    for name, gallery in found.items():
        keys = [[]]
        for choice in gallery["choices"]:
            keys = [[*key, value] for key in keys for value in choice["options"]]
        assert sorted(gallery["figures"]) == sorted(
            json.dumps(key, separators=(",", ":"), ensure_ascii=False) for key in keys
        ), name
        for figure in gallery["figures"].values():
            assert figure.get("why") or (figure["data"] and "n = " in figure["caption"]), name
    assert list(found["aggregation"]["figures"]) == ['["contributions"]', '["weights"]']
    pairs = found["difference"]["choices"][0]["options"]
    assert pairs[:3] == ["last less bridge", "adaptive less bridge", "adaptive less last"]


def test_a_figure_is_drawn_once_and_when_it_is_asked_for(  # type: ignore[no-untyped-def]
    fabric, recorded_study, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles, finish = [], theme.finish
    monkeypatch.setattr(theme, "finish", lambda figure, title, *rest, **named: (
        titles.append(title) or finish(figure, title, *rest, **named)
    ))  # fmt: skip
    groups = study_figures.all_figures(StudyResults(fabric.store, recorded_study()))
    found = {group.id: group for group in groups}
    assert {"comparison", "ranking", "curves", "temperatures"} <= found.keys()
    assert titles == []
    assert found["speed"].first is found["speed"].figures[()]
    assert titles == ["trial: learning speed"]
    with pytest.raises(KeyError):
        found["cost"].figures["no cost",]


def test_nothing_from_the_yaml_becomes_markup(fabric, recorded_study) -> None:  # type: ignore[no-untyped-def]
    plan = recorded_study({"adaptive": EVIL}, why=EVIL)
    fabric.fail("bridge", 0)
    page = without_plotly(study_page(fabric.store, plan))
    assert "alert(1)" in page
    for script in re.findall(r"<script[^>]*>", page):
        assert script == "<script>" or "application/json" in script or "class=" in script or "id=" in script
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert not any("alert" in content for content in re.findall(r"<script>(.*?)</script>", page, re.DOTALL))


def test_a_study_without_recorded_layers_says_what_is_missing_and_how_to_get_it(fabric, recorded_study) -> None:  # type: ignore[no-untyped-def]
    page = study_page(fabric.store, recorded_study(record=False))
    assert "`record.layers` was off" in page
    assert "Words and patches cannot be shown: " in page
    assert "mtlab intervene RUN" in page
    assert set(galleries(page)) == {"comparison", "by-family", "cost", "ranking", "speed", "curves"}


def test_failed_and_unfinished_runs_are_told(fabric) -> None:  # type: ignore[no-untyped-def]
    fabric.fail("last", 0)
    fabric.start("bridge", 0)
    fabric.finish("bridge", 1, 0.7)
    fabric.store.study("trial").mkdir(parents=True)
    (fabric.store.study("trial") / "spec.yaml").write_text("name: trial\n")
    page = study_page(fabric.store, fabric.plan(["last", "bridge", "adaptive"], seeds=2))
    assert "1 of 6 runs finished (1 failed, 1 interrupted, 3 new)" in page
    assert "loss is NaN at step 12" in page
    assert "Not started yet: adaptive." in page
    assert "So far, with 1 of 6 runs finished." in page


def test_nothing_run_and_damaged_files_make_a_page_too(fabric) -> None:  # type: ignore[no-untyped-def]
    plan = fabric.plan(["last", "bridge"], seeds=2)
    assert "No result yet: 0 of 4 runs are finished" in study_page(fabric.store, plan)
    run = fabric.finish("bridge", 0, 0.7)
    for name in ("layers", "tokens", "trace"):
        (run / f"{name}.safetensors").write_bytes(b"half")
    page = study_page(fabric.store, plan)
    assert "layers.safetensors: cannot be read" in page
    assert "tokens.safetensors: cannot be read" in page


@pytest.fixture
def call(fabric, recorded_study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run `mtlab report …`; return code, output, errors."""
    recorded_study(record=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mtlab", "report", *map(str, arguments), "--store", str(fabric.store.root)])
        code = main()
        return code, *capsys.readouterr()

    return run


def test_the_command_writes_it_into_the_studys_folder_or_where_it_is_told(call, fabric, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = call("trial", "--format", "html")
    path = fabric.store.study("trial") / "report" / "report.html"
    assert (code, out) == (0, f"written to {path}: open it in a browser, it needs no network\n")
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert call("trial", "--out", tmp_path / "deep" / "page.html")[0] == 0
    assert (tmp_path / "deep" / "page.html").stat().st_size > 3e6


def test_what_a_page_cannot_be_is_told(call) -> None:  # type: ignore[no-untyped-def]
    for arguments, expected in (
        (("trial", "trial", "--format", "html"), "a page is of one study at a time"),
        (("trial", "--format", "html", "--by", "family"), "the page holds the table by family already"),
        (("trail", "--format", "html"), "trail"),
    ):
        code, _, errors = call(*arguments)
        assert code == 2
        assert expected in errors
        assert errors.count("\n") == 1
