"""Progress over data is shown on a terminal's error stream, and few items show none."""

from __future__ import annotations

import pytest

from mtlab.data.progress import track


def test_a_bar_names_what_is_read_and_yields_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert list(track(iter("abc"), "reading letters", 3, few=2)) == [*"abc"]
    shown = capsys.readouterr()
    assert "reading letters" in shown.err
    assert not shown.out


def test_few_items_show_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert list(track(iter("abc"), "reading letters", 3, few=3)) == [*"abc"]
    assert capsys.readouterr() == ("", "")
