"""Letters: two items share one exactly if they were not shown to be different."""

import random
from itertools import combinations

import pytest

from mtlab.statistics.letter_display import letter, letter_groups, letters_of


@pytest.mark.parametrize(
    ("number", "different", "letters"),
    [
        (0, [], []),
        (1, [], ["a"]),
        (3, [], ["a", "a", "a"]),
        (3, [(0, 2)], ["a", "ab", "b"]),
        (3, [(0, 1), (0, 2), (1, 2)], ["a", "b", "c"]),
        (4, [(0, 2), (0, 3), (1, 3)], ["a", "ab", "bc", "c"]),
        (
            4,
            [(0, 1), (2, 3)],
            ["ab", "cd", "ac", "bd"],
        ),  # nothing says that means which differ less are told apart less
    ],
)
def test_known_displays(number: int, different: list[tuple[int, int]], letters: list[str]) -> None:
    assert letters_of(number, letter_groups(number, different)) == letters


def test_sharing_a_letter_says_exactly_what_was_not_shown() -> None:
    draw = random.Random(0)
    for _ in range(300):
        number = draw.randint(2, 9)
        pairs = list(combinations(range(number), 2))
        different = {pair for pair in pairs if draw.random() < draw.choice((0.1, 0.4, 0.8))}
        groups = letter_groups(number, different)
        shared = {pair for group in groups for pair in combinations(group, 2)}
        assert shared == set(pairs) - different
        assert {item for group in groups for item in group} == set(range(number))
        assert not any(set(one) < set(other) for one in groups for other in groups), "no group within another"


def test_letters_go_on_behind_z_one_for_each_group() -> None:
    assert [letter(at) for at in (0, 25, 26, 51, 52)] == ["a", "z", "A", "Z", "α"]
    pairs = list(combinations(range(30), 2))
    shown = letters_of(30, letter_groups(30, pairs))  # all are told apart
    assert not any(set(shown[one]) & set(shown[other]) for one, other in pairs)
