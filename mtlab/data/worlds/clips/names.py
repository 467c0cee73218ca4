"""Names of clip art from titles, file names and captions, and the concept that a name stands for."""

from __future__ import annotations

import re

from mtlab.data.worlds.pictogram_names import AFTER_HEAD, family_of

VARIANTS = re.compile(r"\(?\b(?:b ?and ?w|b ?& ?w|bw|black and white)\b\)?", re.IGNORECASE)
BY = re.compile(r"^Clipart by [^-]+ - ", re.IGNORECASE)
ARTICLE = re.compile(r"^(?:an?|the|some|our) ", re.IGNORECASE)
#: Words behind the head of a name, as in "apple simple", and what follows it in a sentence.
STYLES = frozenset((
    "simple", "shaded", "shading", "outline", "outlined", "illustration", "openclipart", "aj", "black", "white", "red",
    "green", "blue", "yellow", "orange", "purple", "pink", "brown", "grey", "gray",
))  # fmt: skip
CLAUSE = re.compile(r" (?:is|are|was|has|that|which|who|can|called|used|said|made|seen) .*$")
MEASURES = frozenset(("pair", "piece", "slice", "bunch", "bowl", "bag", "set", "stack", "kind", "picture", "group"))


def clean(text: str) -> str:
    """Return a title or a file's name as words: no numbers, no name of its author.

    >>> clean("Clipart by Nicu Buculei - arrow08_4"), clean("corndog_bw_01"), clean("  Dog 03 on leash")
    ('arrow', 'corndog (black and white)', 'dog on leash')
    """
    text = VARIANTS.sub("(black and white)", BY.sub("", text).replace("_", " "))
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)  # fileNew → file New
    words = re.sub(r"[^\w()',.&/ ]|_|\d", " ", text).split()
    return " ".join(words).strip(" .,/&'").lower()


def concept(name: str) -> str:
    """Name what clip art of this name shows: the head of the name in the singular, or a family of what looks alike.

    >>> concept("a white kitten"), concept("pair of glasses"), concept("corndog (black and white)"), concept("old man")
    ('kitten', 'glass', 'corndog', 'people')
    """
    name = ARTICLE.sub("", re.sub(r"\(.*?\)", " ", name).split(",")[0].strip().lower())
    name = CLAUSE.sub("", name)
    first, of, rest = name.partition(" of ")
    if of and first.split()[-1] in MEASURES:
        return concept(rest)
    words = re.findall(r"[^\W\d_]+", AFTER_HEAD.sub("", name))
    while len(words) > 1 and words[-1] in STYLES:
        words = words[:-1]
    return family_of(singular(words[-1])) if words else name


def singular(noun: str) -> str:
    """Return the singular of a regular plural.

    >>> singular("grapes"), singular("cherries"), singular("boxes"), singular("bus"), singular("glass")
    ('grape', 'cherry', 'box', 'bus', 'glass')
    """
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if noun.endswith(ending) and len(noun) > len(ending) + 1:
            return noun.removesuffix(ending) + instead
    plural = noun.endswith("s") and not noun.endswith(("ss", "us", "is")) and len(noun) > 3
    return noun[:-1] if plural else noun
