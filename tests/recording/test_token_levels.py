"""Levels of words and patches: each token has its level, its strength and its place."""

from __future__ import annotations

import pytest
import recordings

from mtlab.recording import reader, token_levels


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
