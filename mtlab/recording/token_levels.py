"""The level with the largest weight for each token of one example: for figures, tables and the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mtlab.recording.reader import Array, Kind, Modality, PatchGrid, Tokens


@dataclass(frozen=True)
class TokenLevels:
    """Shares of the levels for one token."""

    token: str  #: the word, or the name of the patch
    shares: tuple[float, ...]  #: of the levels, lowest first
    level: int  #: that it draws on most
    place: tuple[int, int] | None = None  #: row and column of a patch; None of words and of prefix tokens

    @property
    def strength(self) -> float:
        """How much larger the level's share is than the others': 0 where all are alike, 1 where there is no other."""
        total, number = sum(self.shares), len(self.shares)
        if number < 2 or total <= 0:
            return 1.0
        return (max(self.shares) / total - 1 / number) / (1 - 1 / number)

    @property
    def colour_strength(self) -> float:
        """Opacity of the level's colour, 0 to 1, by its strength alone."""
        return math.sqrt(max(0.0, min(1.0, self.strength)))


def token_levels(
    tokens: Tokens, example: int, modality: Modality, depth: int, kind: Kind = "contributions"
) -> list[TokenLevels]:
    """Return shares and main level of each real token of an example; empty where nothing is recorded.

    Args:
        tokens: what a run recorded.
        example: its place in `tokens.examples`.
        modality: text or image.
        depth: of the cross-modal layer, from 0.
        kind: contributions or weights.

    """
    experts = tokens.experts(kind, modality, depth, example)
    if experts is None:
        return []
    levels = level_numbers(tokens, modality, experts)
    grid = tokens.grid if modality == "image" else None
    words = tokens.examples[example].tokens if modality == "text" else ()
    result = []
    for number, shares in enumerate(experts.T):
        place = _place(number, grid)
        word = words[number] if number < len(words) else _name(number, place)
        result.append(TokenLevels(word, tuple(map(float, shares)), levels[int(shares.argmax())], place))
    return result


def level_numbers(tokens: Tokens, modality: Modality, experts: Array) -> tuple[int, ...]:
    """Return the levels of the experts' rows; 1, 2, … where they are not recorded."""
    levels = tokens.levels.get(modality, ())
    return levels if len(levels) == len(experts) else tuple(range(1, len(experts) + 1))


def _name(number: int, place: tuple[int, int] | None) -> str:
    return f"token {number + 1}" if place is None else f"patch {place[0] + 1}, {place[1] + 1}"


def _place(token: int, grid: PatchGrid | None) -> tuple[int, int] | None:
    if grid is None or not grid.prefix <= token < grid.prefix + grid.rows * grid.columns:
        return None
    return divmod(token - grid.prefix, grid.columns)
