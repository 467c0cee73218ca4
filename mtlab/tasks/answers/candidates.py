"""The captions that an image's own are compared with: the same in every run, of other images of the split.

A caption that also fits the image is none of them: one in the same words, or of an image that is known to show the
same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from mtlab.data.base import Example
from mtlab.seeding import derive


def draw_distractors(examples: Sequence[Example], number: int) -> list[tuple[int, ...]]:
    """Choose captions of other images for each caption of a split, by their rows: those of its family.

    The captions of a family stand in a ring, in random order; those behind the first of an image are chosen for all
    of the image. So each is chosen about as often as any other, and a model that does not see the image is right in one
    case of `number` + 1, whichever captions it likes, in each family too.

    Args:
        examples: of the split.
        number: of captions wanted; fewer are returned where there are no more.

    """
    rings: dict[str, list[int]] = defaultdict(list)
    of_image: dict[tuple[str, str], list[int]] = defaultdict(list)
    texts: dict[str, set[str]] = defaultdict(set)
    for row, example in enumerate(examples):
        rings[example.family].append(row)
        of_image[example.image, example.family].append(row)
        texts[example.image].add(example.text)
    chosen: list[tuple[int, ...]] = [()] * len(examples)
    for family, ring in rings.items():
        ring.sort(key=lambda row: derive(0, "candidates", examples[row].id))
        places = {row: place for place, row in enumerate(ring)}
        for row in ring:
            example = examples[row]
            own = of_image[example.image, family]
            if row == own[0]:
                found = _following(examples, ring, places[row], texts[example.image], number)
                for each in own:
                    chosen[each] = found
    return chosen


def _following(
    examples: Sequence[Example], ring: Sequence[int], place: int, own_texts: set[str], number: int
) -> tuple[int, ...]:
    """Return the next rows of a ring whose captions do not fit the image of the one at `place`."""
    image, objects, taken = examples[ring[place]].image, examples[ring[place]].objects, set(own_texts)
    found: list[int] = []
    for row in _behind(ring, place):
        other = examples[row]
        fits = other.image == image or other.text in taken or (objects and other.objects == objects)
        if not fits:
            found.append(row)
            taken.add(other.text)
        if len(found) == number:
            break
    return tuple(found)


def _behind(ring: Sequence[int], place: int) -> Iterator[int]:
    for step in range(1, len(ring)):
        yield ring[(place + step) % len(ring)]
