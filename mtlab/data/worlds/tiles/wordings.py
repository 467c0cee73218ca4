"""Several wordings of each question about a tile, chosen independently of its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PLACES: Sequence[Sequence[str]] = (
    ("at the top left", "in the upper left corner"),
    ("at the top right", "in the upper right corner"),
    ("at the bottom left", "in the lower left corner"),
    ("at the bottom right", "in the lower right corner"),
)  #: of the tiles, in reading order

WORDINGS: Mapping[str, Sequence[str]] = {
    "object": (
        "What kind of thing is drawn {place}?",
        "What is the thing {place}?",
        "Which kind of thing can you see {place}?",
        "What does the drawing {place} show?",
    ),
    "letter": (
        "Which letter stands {place}?",
        "What letter can you read {place}?",
        "Name the letter {place}.",
        "Read the letter {place}.",
    ),
    "stripes": (
        "Which way do the stripes run {place}?",
        "What is the direction of the stripes {place}?",
        "How do the lines of the ground lie {place}?",
        "In which direction is the ground striped {place}?",
    ),
    "shade": (
        "How dark is the ground {place}?",
        "Which shade of grey is the ground {place}?",
        "What is the brightness of the ground {place}?",
        "Tell me the shade of the ground {place}.",
    ),
    "ring": (
        "On which side is the ring open {place}?",
        "Where is the gap of the ring {place}?",
        "Which side of the ring is missing {place}?",
        "To which side does the ring open {place}?",
    ),
}
