"""Groups of items that were not shown to be different, as letters."""

from __future__ import annotations

from collections.abc import Collection
from string import ascii_letters


def letter_groups(number: int, different: Collection[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Group items so that two share a group exactly where they were not shown to be different.

    An item may be in several groups: that a and b, and b and c were not told apart does not make a and c alike.

    Args:
        number: of the items, which are 0 to number − 1, best first.
        different: the pairs that were shown to be different.

    Returns:
        the largest such groups, that with the best item first; each holds its items in order

    Source: the insert-and-absorb algorithm for compact letter displays (Piepho 2004, J. Comput. Graph. Stat. 13).

    """
    groups = [frozenset(range(number))] if number else []
    for first, second in sorted(different):
        split: list[frozenset[int]] = []
        for group in groups:
            both = {first, second} <= group
            split += [group - {first}, group - {second}] if both else [group]
        distinct = list(dict.fromkeys(split))
        groups = [group for group in distinct if not any(group < other for other in distinct)]
    return sorted(tuple(sorted(group)) for group in groups)


def letters_of(number: int, groups: Collection[tuple[int, ...]]) -> list[str]:
    """Return the letters of each item's groups, see `letter`."""
    named = [(letter(at), set(group)) for at, group in enumerate(groups)]
    return ["".join(name for name, group in named if item in group) for item in range(number)]


def letter(at: int) -> str:
    """Name a group by its number from 0: a, b, …, z, A, …, Z, α, …: one letter each, as an item has several."""
    return ascii_letters[at] if at < len(ascii_letters) else chr(ord("α") + at - len(ascii_letters))
