"""Figures of words and patches: each has its level, its strength and its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recordings
from recorded_study import words

from mtlab.recording import reader, token_levels
from mtlab.report.figures.layers import words_and_patches


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> reader.Tokens:
    folder = tmp_path_factory.mktemp("tokens")
    recordings.write_tokens(folder)
    return reader.read_tokens(folder)


def test_every_word_and_patch_has_its_level_and_place(tokens: reader.Tokens) -> None:
    found = token_levels.token_levels(tokens, 1, "text", 2)
    assert [each.token for each in found] == list(tokens.examples[1].tokens)
    for place, each in enumerate(found):
        rows = tokens.rows("contributions", "text", 2, 1)[:, place]
        assert each.level == (4, 5, 6)[int(rows[:3].argmax())]
        assert each.parts == pytest.approx(dict(zip(["level 4", "level 5", "level 6", "previous"], rows, strict=True)))
        assert sum(each.parts.values()) == pytest.approx(1, abs=1e-5)
        assert 0 <= each.strength <= 1
    patches = token_levels.token_levels(tokens, 1, "image", 0)
    assert patches[0].place is None
    assert [each.place for each in patches[1:6]] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    assert patches[6].token == "patch 2, 2"
    assert token_levels.token_levels(tokens, 1, "image", 9) == []


def test_strength_is_how_far_a_level_leads() -> None:
    def made(*shares: float, previous: float | None = None) -> token_levels.TokenLevels:
        return token_levels.TokenLevels("x", tuple(range(1, len(shares) + 1)), shares, previous)

    assert made(0.25, 0.25, 0.25, 0.25).strength == pytest.approx(0)
    assert made(0.3, 0.0).strength == 1
    assert made(0.4).strength == 1
    # a weak choice stays pale, even if all others are weaker
    assert made(0.26, 0.25, 0.25, 0.24).colour_strength < 0.15
    # a negative weight is as strong as a positive one, and where all comes from the previous state there is no level
    assert made(0.1, -0.5, previous=1.0).level == 2
    assert made(0.0, 0.0, previous=1.0).level is None


def test_bars_of_words_sum_to_one_with_the_previous_state(tokens: reader.Tokens) -> None:
    figure = words_and_patches.plot_words(tokens, 0, 1)
    assert figure.data[-1].name == "previous"
    assert figure.data[-1].marker.pattern.shape == "/"
    np.testing.assert_allclose(np.sum([each.y for each in figure.data], 0), 1, rtol=1e-5)
    assert list(figure.layout.xaxis.ticktext) == list(tokens.examples[0].tokens)
    weights = words_and_patches.plot_words(tokens, 0, 1, "weights").data[-1]
    np.testing.assert_allclose(weights.y, tokens.rows("weights", "text", 1, 0)[-1], rtol=1e-5)
    assert "previous" not in [each.name for each in words_and_patches.plot_words(tokens, 0, 0).data]
    caption = figure.layout.meta["caption"]
    assert "predicted: red, right: red" in caption
    assert "One example of one run" in caption
    assert "levels and previous state sum to one" in caption


@pytest.mark.parametrize("picture", [None, np.zeros((32, 32, 3), np.uint8)], ids=["without", "with a picture"])
def test_patches_lie_over_the_picture(tokens: reader.Tokens, picture: Any) -> None:
    figure = words_and_patches.plot_patches(tokens, 0, 1, image=picture)
    assert len(figure.layout.images) == (1 if picture is None else 2)
    numbers = next(each for each in figure.data if each.text is not None)
    found = token_levels.token_levels(tokens, 0, "image", 1)
    assert list(numbers.text) == [str(each.level) for each in found if each.place is not None]
    assert "token 1: level" in figure.layout.meta["caption"]


def test_image_tokens_without_a_grid_are_bars(tmp_path: Path) -> None:
    recordings.write_tokens(tmp_path, grid={"rows": 4, "columns": 4, "prefix": 1})
    read = reader.read_tokens(tmp_path)
    figure = words_and_patches.plot_patches(reader.Tokens(read.values, read.levels, read.examples, None), 0, 0)
    assert {type(each).__name__ for each in figure.data} == {"Bar"}
    assert "No contributions of single tokens" in words(words_and_patches.plot_patches(read, 0, 9))


# From reports
