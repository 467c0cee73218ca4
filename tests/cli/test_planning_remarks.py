"""The remarks of `mtlab plan` below its table."""

from pathlib import Path

import pytest
from tiny_study import write_study

from mtlab.cli.stored import note_changed
from mtlab.cli.study.plan import describe_pairings
from mtlab.config.load import composed_text
from mtlab.runs.store import Store


def row(label: str, text: list[list[int]]) -> dict[str, object]:
    return {"label": label, "pairing": {"text": text, "image": [[1, 2], [1, 2]]}}


def test_rows_that_read_the_same_levels_share_a_line() -> None:
    rows = [row(f"bridge · lr {number}", [[2], [3]]) for number in range(5)]
    rows += [row("last", [[3], []]), row("static", [[1, 2, 3], [1, 2, 3]])]
    assert describe_pairings(rows) == [
        "pairing of bridge · lr 0, bridge · lr 1 and 3 more: text levels 2 3; image levels 1,2 1,2",
        "pairing of last: text levels 3 –; image levels 1,2 1,2",
    ]


def test_a_base_that_changed_or_went_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file, store = write_study(tmp_path, "seeds: 1"), Store.open(Path("store"), create=True)
    store.claim_study("study", file, composed_text(file))
    store.write_plan("study", {"spec_file": str(file), "runs": []})
    note_changed("study.yaml", store)
    assert capsys.readouterr().err == ""
    base = tmp_path / "tiny.yaml"
    base.write_text(base.read_text().replace("width: 16", "width: 32"))
    note_changed("study.yaml", store)
    assert capsys.readouterr().err == (
        "note: study.yaml, or what it is based on, has changed since it was planned; "
        f"`mtlab plan study.yaml --store {store.root}` takes it in\n"
    )
    base.unlink()
    note_changed("study.yaml", store)
    err = capsys.readouterr().err
    assert err.startswith("note: not as it was planned any more: study.yaml:1: base: no file 'tiny.yaml' in ")
    assert err.count("\n") == 1
