"""Words and patches of examples, coloured by the level that they draw on: data for the page's script, and its place."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from mtlab.recording.reader import MODALITIES, Missing, Modality, RecordedExample, Tokens
from mtlab.recording.run_dataset import ImageArray
from mtlab.recording.token_levels import level_numbers
from mtlab.report.figures import theme
from mtlab.report.figures.panels import KIND_MEANINGS, KINDS
from mtlab.report.page.html_writer import Markup, element, json_script

LIMIT = 8  #: examples of a run on a page with many runs
LARGEST = 256  #: pixels of a picture's longer side
DRAWN = 40_000  #: bytes of a PNG above which a picture is taken for a photograph, and stored as one
_HINT = (
    "Colour and number: the level that a word or patch draws on most; the stronger, the further it leads the other "
    "levels. Point at one, or move with Tab and the arrow keys, to see its parts of all levels."
)


@dataclass(frozen=True)
class RecordedRun:
    """A run whose tokens are shown."""

    title: str
    tokens: Tokens
    picture: Callable[[str], ImageArray | Missing]  #: by `RecordedExample.image`
    first: int = 0  #: the example that is shown at first


def token_view(runs: Sequence[RecordedRun], *, limit: int | None = LIMIT, id_: str = "tokens") -> Markup:
    """Write the place where tokens are shown, without a heading.

    Args:
        runs: to choose from.
        limit: examples of each at most, evenly spread over those recorded; None: all.
        id_: of the element.

    """
    known = token_data(runs, limit)
    choices = (("run", "Run"), ("example", "Example"), ("layer", "Layer"))
    return element(
        "section",
        element("p", _HINT, class_="hint"),
        element(
            "div",
            [element("label", label, " ", element("select", data_choice=key)) for key, label in choices],
            class_="choices",
        ),
        element("p", class_="told"),
        element(
            "div",
            element("div", element("h4", "Words"), element("div", class_="words"), class_="side"),
            element("div", element("h4", "Patches"), element("div", class_="patches"), class_="side"),
            class_="sides",
        ),
        element("div", class_="shares", aria_live="polite"),
        json_script(known, class_="known"),
        class_="tokens",
        id=id_,
    )


def token_data(runs: Sequence[RecordedRun], limit: int | None = None) -> dict[str, Any]:
    """Gather what the script draws: parts of levels in thousandths, pictures once each, as data URIs."""
    pictures: dict[str, Any] = {}
    albums: list[Any] = []  #: runs of one study may be asked about different data sets
    shown = []
    for run in runs:
        if run.picture not in albums:
            albums.append(run.picture)
        album, total = albums.index(run.picture), len(run.tokens.examples)
        chosen = range(total) if limit is None else sorted({at * total // limit for at in range(limit)})
        examples = []
        for at in chosen if total else ():
            told = run.tokens.examples[at]
            key = f"{album}/{told.image}"
            if key not in pictures:
                pictures[key] = _embedded(run.picture(told.image))
            examples.append(_example(told, key, _parts(run.tokens, at)))
        first = run.tokens.examples[run.first].id if total else ""
        shown.append({"title": run.title, "first": first, **_about(run.tokens), "examples": examples})
    return {"runs": shown, "pictures": pictures, "meant": dict(KIND_MEANINGS)}


def _example(told: RecordedExample, picture: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    about = {"id": told.id, "family": told.family, "text": told.text, "tokens": list(told.tokens)}
    judged = {"truth": told.truth, "prediction": told.prediction}
    return {**about, **judged, "picture": picture, "parts": parts}


def _about(tokens: Tokens) -> dict[str, Any]:
    levels: dict[Modality, list[int]] = {}
    for modality, kind in product(MODALITIES, KINDS):
        for depth in tokens.depths(kind, modality)[:1]:
            rows = tokens.experts(kind, modality, depth, 0)
            if rows is not None:
                levels[modality] = list(level_numbers(tokens, modality, rows))
    grid = tokens.grid
    return {
        "levels": levels,
        "colours": {modality: theme.level_colours(len(own)) for modality, own in levels.items()},
        "grid": None if grid is None else [grid.rows, grid.columns, grid.prefix],
    }


def _parts(tokens: Tokens, example: int) -> dict[str, list[list[int]]]:
    """Give KIND/MODALITY/DEPTH → for each real token, the parts of the levels in thousandths."""
    found = {}
    for modality, kind in product(MODALITIES, KINDS):
        for depth in tokens.depths(kind, modality):
            rows = tokens.experts(kind, modality, depth, example)
            if rows is not None and np.isfinite(rows).all():
                found[f"{kind}/{modality}/{depth}"] = np.rint(1000 * rows.T).astype(int).tolist()
    return found


def _embedded(picture: ImageArray | Missing) -> Mapping[str, Any]:
    from PIL import Image

    if isinstance(picture, Missing):
        return {"why": picture.why}
    made = Image.fromarray(picture)
    made.thumbnail((LARGEST, LARGEST))
    stream, kind = io.BytesIO(), "png"
    made.save(stream, "PNG")
    if stream.tell() > DRAWN:
        stream, kind = io.BytesIO(), "jpeg"
        made.save(stream, "JPEG", quality=88)
    return {"uri": _uri(kind, stream.getvalue()), "width": made.width, "height": made.height}


def _uri(kind: str, content: bytes) -> str:
    import base64

    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
