"""Words and patches in the terminal: every level is written as well as coloured, at any width."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import recordings
from rich.cells import cell_len
from rich.console import Console

from mtlab.recording import reader
from mtlab.recording.reader import Tokens
from mtlab.recording.token_levels import token_levels
from mtlab.report.formats.token_terminal import render_tokens

SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


def drawn(tokens: Tokens, example: int = 0, kind: reader.Kind = "contributions", width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(render_tokens(tokens, example, kind, width))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    recordings.write_tokens(tmp_path)
    read = reader.read_tokens(tmp_path)
    assert isinstance(read, Tokens)
    return read


def test_every_word_and_patch_bears_its_level(tokens: Tokens) -> None:
    shown = drawn(tokens)
    text, _, image = shown.partition("\nimage\n")
    lines = [line for line in text.splitlines() if re.match(r"layer \d +what", line)]
    assert len(lines) == 3
    for depth, line in enumerate(lines):
        levels = [int(number.translate(SUBSCRIPTS)) for number in re.findall(r"[₀-₉]+", line)]
        assert levels == [each.level for each in token_levels(tokens, 0, "text", depth)]
    rows = [line for line in image.splitlines() if re.fullmatch(r"( *\d){12} *", line)]
    first = [each.level for each in token_levels(tokens, 0, "image", 0) if each.place is not None]
    assert [int(number) for row in rows for number in row.split()[:4]] == first
    assert "✓ answers red" in text
    assert "✗ answers blue, right: red" in drawn(tokens, 1)


def test_means_are_over_the_tokens_and_sum_to_one_with_the_previous_state(tokens: Tokens) -> None:
    lines = [line for line in drawn(tokens).splitlines() if re.match(r"layer 2 ( +\d\.\d\d)+$", line)]
    assert len(lines) == 2
    for line, modality in zip(lines, reader.MODALITIES, strict=True):
        means = [float(word) for word in line.split()[2:]]
        assert sum(means) == pytest.approx(1, abs=0.03)
        own = tokens.rows("contributions", modality, 1, 0)
        assert means[0] == pytest.approx(own[0].mean(), abs=0.006)
        assert means[-1] == pytest.approx(own[-1].mean(), abs=0.006)
    assert "previous" in drawn(tokens, kind="weights")


@pytest.mark.parametrize("width", [50, 80, 140])
def test_it_fits(tokens: Tokens, width: int) -> None:
    assert max(cell_len(line) for line in drawn(tokens, width=width).splitlines()) <= width


def test_large_grids_are_set_one_below_the_other_where_they_do_not_fit(tmp_path: Path) -> None:
    recordings.write_tokens(tmp_path, grid={"rows": 14, "columns": 14, "prefix": 1})
    read = reader.read_tokens(tmp_path)
    for width, heads in ((60, 2), (120, 1)):
        lines = drawn(read, width=width).splitlines()
        assert max(map(cell_len, lines)) <= width
        grids = [line for line in lines if re.fullmatch(r"( *layer \d+)+ *", line)]
        assert len(grids) == heads


def test_what_is_missing_or_measured_otherwise_is_told(tokens: Tokens) -> None:
    def told(values: dict[str, np.ndarray], kind: reader.Kind = "contributions") -> str:
        return " ".join(drawn(Tokens(values, tokens.levels, tokens.examples, tokens.grid), kind=kind).split())

    kept = {name: value for name, value in tokens.values.items() if not name.startswith("weights")}
    assert "no weights, but contributions: leave out --weights" in told(kept, "weights")
    assert "Nothing was recorded" in told({})
    removed = {**tokens.values, "by_removal/text/1": np.ones((4, 1)), "by_removal/text/2": np.ones((4, 1))}
    assert "layer 2, 3: the output is no sum: a share of how far it moves without each state" in told(removed)
    assert "no sum" not in told(removed, "weights")


def test_tokens_that_draw_on_no_level_are_marked(tokens: Tokens) -> None:
    alone = np.zeros_like(tokens.values["contributions/text/2"])
    alone[:, -1] = 1.0
    shown = drawn(Tokens({**tokens.values, "contributions/text/2": alone}, tokens.levels, tokens.examples, tokens.grid))
    assert re.search(r"layer 3 +what₋ colour₋", shown)
    assert re.search(r"layer 3 +0\.00 +0\.00 +0\.00 +1\.00", shown)
