"""The names of pictograms, and which of them are so alike that they belong together.

A pictogram is known by its code: the code points of its emoji, "1F431" or "1F468-200D-1F33E".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from mtlab.data.base import Split
from mtlab.seeding import hash_fraction

SHARES = {"val": 0.15, "test": 0.30}  #: of the concepts that are no family of what looks alike
SKIN_TONES = frozenset(f"{point:X}" for point in range(0x1F3FB, 0x1F400))
PLAIN = "FE0F"  #: says that a character is shown as an image: no part of what it shows
OLDEST_UNICODE = 14  #: known to every Python that this package runs on: newer characters have no name in some

#: words of typography, not of colours, in the names that Unicode gives
TYPOGRAPHY = re.compile(r"\b(black|white|emoji component)\b")

PEOPLE = frozenset(
    ("man", "men", "woman", "women", "person", "people", "boy", "girl", "child", "baby", "adult", "old", "older")
)
AFTER_HEAD = re.compile(r"[ :](with|without|in|of|on|at|the|and|for|over|to|facing|behind|under|from|by) .*$")

#: Families of pictograms that look alike, and the heads of names that belong to them. All are trained on: most of a
#: gallery would else be flags.
ALIKE = {
    "flags": {"flag"},
    "people": PEOPLE | {"face", "family", "couple", "kiss", "hair", "beard", "bald"},
    "signs": {
        *("button", "square", "circle", "moon", "symbol", "sign", "tone", "star", "arrow", "mark", "zodiac", "diamond"),
        *("cross", "khanda", "wheel", "menorah", "kaaba", "om"),
    },
    "clocks": {"o’clock", "thirty"},
}
#: other heads that name what looks alike
SAME = {
    "unlocked": "locked",
    "mail": "envelope",
    "taxi": "car",
    "princess": "prince",
    "mermaid": "merman",
    "merperson": "merman",
}
HANDS = frozenset(("hand", "hands", "fist", "finger", "fingers", "thumbs", "index"))
#: blocks of faces, cats' among them, and of people's gestures
FACES = ((0x1F600, 0x1F64F), (0x1F910, 0x1F917), (0x1F920, 0x1F92F), (0x1F970, 0x1F97A))


def names(code: str, short: str, version: float) -> tuple[str, ...]:
    """Return what a pictogram is called: by its short name, and by its character's own name where that differs.

    Args:
        code: its code.
        short: its short name in the Unicode Common Locale Data Repository, as the package `emoji` writes it.
        version: of Emoji, since which there is such a pictogram.

    Returns:
        one name or two.

    >>> names("1F431", ":cat_face:", 0.6)
    ('cat face',)
    >>> names("1F43C", ":panda:", 0.6)
    ('panda', 'panda face')
    >>> names("1F1EB-1F1F7", ":France:", 0.6)
    ('flag of France',)

    """
    own = short.strip(":").replace("_", " ")
    if _is_flag(code) and "flag" not in own:
        return (f"flag of {own}",)
    points = [point for point in code.split("-") if point != PLAIN]
    if len(points) > 1 or version > OLDEST_UNICODE:
        return (own,)
    formal = unicodedata.name(chr(int(points[0], 16)), own).lower()
    if formal == own.lower() or TYPOGRAPHY.search(formal):
        return (own,)
    return own, formal


def concept(code: str, short: str) -> str:
    """Name what a pictogram shows, whatever its gender, hair, direction or mood: those of one concept look alike.

    It is the head of its name ("envelope" of "envelope with arrow"), or its family in `ALIKE`.

    >>> concept("1F468-200D-1F33E", "man_farmer"), concept("1F9D1-200D-1F33E", "farmer")
    ('farmer', 'farmer')
    >>> concept("1F408-200D-2B1B", "black_cat"), concept("1F639", "cat_with_tears_of_joy"), concept("26D4", "no_entry")
    ('cat', 'people', 'entry')
    """
    return family_of(_head(code, short.strip(":").replace("_", " ").lower()))


def family_of(head: str) -> str:
    """Return the family of what looks alike that the head of a name belongs to, in `ALIKE`; else the head, or its kin.

    >>> family_of("star"), family_of("mermaid"), family_of("cat")
    ('signs', 'merman', 'cat')
    """
    return next((family for family, heads in ALIKE.items() if head in heads), SAME.get(head, head))


def _head(code: str, name: str) -> str:
    points = [int(point, 16) for point in code.split("-")]
    if _is_flag(code):
        return "flag"
    if any(first <= points[0] <= last for first, last in FACES):
        return "face"
    if 0x2648 <= points[0] <= 0x2653 or points[0] == 0x26CE:
        return "zodiac"
    if "button" in name or name.startswith("keycap"):
        return "button"
    words = name.partition(" (")[0].split()
    if HANDS.intersection(words):
        return "hand"
    while words and words[0] in PEOPLE:
        words = words[1:]
    if not words:
        return "people"
    return AFTER_HEAD.sub("", " ".join(words)).replace("-", " ").split()[-1]


def _is_flag(code: str) -> bool:
    first, *more = code.split("-")
    return 0x1F1E6 <= int(first, 16) <= 0x1F1FF or (bool(more) and first in ("1F3F3", "1F3F4"))


def is_toned(code: str) -> bool:
    """Tell whether a pictogram is another in a skin tone.

    >>> is_toned("1F44B-1F3FD"), is_toned("1F44B"), is_toned("1F3FD")
    (True, False, False)
    """
    first, *more = code.split("-")
    return first not in SKIN_TONES and bool(SKIN_TONES.intersection(more))


def characters(code: str) -> Sequence[str]:
    """Write a code as text, in the ways that a table of emoji may have it: as it is, and with and without `PLAIN`."""
    text = "".join(chr(int(point, 16)) for point in code.split("-"))
    plain = chr(int(PLAIN, 16))
    return text, text + plain, text.replace(plain, "")


def split_concept(concept: str, prefix: str = "") -> Split:
    """Assign a concept to a split by a hash of its name; families of what looks alike are for training.

    Args:
        concept: its name.
        prefix: of the hashed name, so that another world splits in another way.

    """
    if concept in ALIKE:
        return "train"
    drawn = hash_fraction(prefix + concept)
    if drawn < SHARES["val"]:
        return "val"
    return "test" if drawn < SHARES["val"] + SHARES["test"] else "train"
