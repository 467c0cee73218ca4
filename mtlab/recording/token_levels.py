"""The shares of levels and previous states for each token of one example: the one definition for all views."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mtlab.recording.reader import Kind, Modality, PatchGrid, Tokens

PREVIOUS = "previous"  #: the name of the previous cross-modal states, all together


@dataclass(frozen=True)
class TokenLevels:
    """Shares of the levels and of the previous states for one token.

    Contributions sum to one over both. Weights are as the manager uses them: they may be negative, and need not sum to
    one.
    """

    token: str  #: the word, or the name of the patch
    levels: tuple[int, ...]  #: of the tower, lowest first
    shares: tuple[float | None, ...]  #: of the levels; None where the manager is not offered one
    previous: float | None = None  #: share of all previous states together; None where there are none
    place: tuple[int, int] | None = None  #: row and column of a patch; None of words and of prefix tokens

    @property
    def level(self) -> int | None:
        """The level that it draws on most; None where all comes from the previous states."""
        sizes = [abs(share or 0.0) for share in self.shares]
        return self.levels[sizes.index(max(sizes))] if any(sizes) else None

    @property
    def parts(self) -> dict[str, float]:
        """Share of each offered level, and of the previous states if there are any, by name."""
        shares = zip(self.levels, self.shares, strict=True)
        named = {f"level {level}": share for level, share in shares if share is not None}
        return named if self.previous is None else {**named, PREVIOUS: self.previous}

    @property
    def strength(self) -> float:
        """How much larger the level's share is than the other levels': 0 all are alike, 1 there is no other."""
        sizes = [abs(share) for share in self.shares if share is not None]
        total, number = sum(sizes), len(sizes)
        if number < 2 or total <= 0:
            return 1.0
        return (max(sizes) / total - 1 / number) / (1 - 1 / number)

    @property
    def colour_strength(self) -> float:
        """Opacity of the level's colour, 0 to 1, by its strength alone."""
        return math.sqrt(max(0.0, min(1.0, self.strength)))


def token_levels(
    tokens: Tokens, example: int, modality: Modality, depth: int, kind: Kind = "contributions"
) -> list[TokenLevels]:
    """Return the shares of each real token of an example; empty where nothing is recorded.

    Args:
        tokens: what a run recorded.
        example: its place in `tokens.examples`.
        modality: text or image.
        depth: of the cross-modal layer, from 0.
        kind: contributions or weights.

    """
    rows = tokens.rows(kind, modality, depth, example)
    if rows is None:
        return []
    levels = tokens.experts_levels(modality, len(rows))
    grid = tokens.grid if modality == "image" else None
    words = tokens.examples[example].tokens if modality == "text" else ()
    result = []
    for number, parts in enumerate(rows.T.tolist()):
        place = _place(number, grid)
        word = words[number] if number < len(words) else _name(number, place)
        experts = [None if math.isnan(share) else share for share in parts[: len(levels)]]
        below = parts[len(levels) :]
        result.append(TokenLevels(word, levels, tuple(experts), sum(below) if below else None, place))
    return result


def _name(number: int, place: tuple[int, int] | None) -> str:
    return f"token {number + 1}" if place is None else f"patch {place[0] + 1}, {place[1] + 1}"


def _place(token: int, grid: PatchGrid | None) -> tuple[int, int] | None:
    if grid is None or not grid.prefix <= token < grid.prefix + grid.rows * grid.columns:
        return None
    return divmod(token - grid.prefix, grid.columns)
