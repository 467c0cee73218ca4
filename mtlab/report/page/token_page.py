"""Words and patches of examples, coloured by level: a section of pages, and the page of `mtlab inspect --html`."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from mtlab.recording.reader import MODALITIES, Missing, Modality, RecordedExample, Tokens
from mtlab.recording.run_dataset import ImageArray
from mtlab.recording.token_levels import token_levels
from mtlab.report.figures import theme
from mtlab.report.figures.panels import KINDS, explain_kind
from mtlab.report.page.document import kind_switch, write_document
from mtlab.report.page.html_writer import Markup, element, json_script

MAX_EXAMPLES = 8  #: of a run on a page with many runs
MAX_SIDE = 256  #: pixels of an image's longer side
MAX_PNG_LETTERS = 53_000  #: of its data URI; a larger PNG is a photograph, and is stored as JPEG
_HINT = (
    "Colour and number: the level that a word or patch draws on most; the stronger, the further it leads the other "
    "levels. Grey and hatched: the previous state. Point at one, or move with Tab and the arrow keys, to "
    "see its parts of all levels and of the previous state."
)


@dataclass(frozen=True)
class RecordedRun:
    """A run whose tokens are shown."""

    title: str
    tokens: Tokens
    load_image: Callable[[str], ImageArray | Missing]  #: by `RecordedExample.image`
    first: int = 0  #: index of the example that is shown first


def token_page(run: RecordedRun, about: str) -> str:
    """Write a page of one model.

    Args:
        run: the model's recorded tokens.
        about: the checkpoint, in one line.

    """
    head = element(
        "header",
        element("p", "mtlab inspect", class_="over"),
        element("h1", run.title),
        element("p", about, class_="why"),
    )
    body = [
        head,
        element("nav", element("span", "Which level each word and each patch draws on"), kind_switch()),
        element("main", token_section([run], limit=None), id="content"),
    ]
    return write_document(f"{run.title} – mtlab inspect", body, figures=False, scripts=("tokens.js",))


def token_section(runs: Sequence[RecordedRun], *, limit: int | None = MAX_EXAMPLES, start: int = 0) -> Markup:
    """Write the section that shows tokens, without a heading.

    Args:
        runs: to choose from.
        limit: maximal number of examples of each run, evenly spread over those recorded; None: all.
        start: index of the run that is shown first.

    """
    known = token_data(runs, limit, start)
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
        id="tokens",
    )


def token_data(runs: Sequence[RecordedRun], limit: int | None = None, start: int = 0) -> dict[str, Any]:
    """Return the data for `tokens.js`: parts of levels in thousandths, and each image once as a data URI."""
    images: dict[str, Any] = {}
    loaders: list[Any] = []  #: runs of one study may have different data sets
    shown = []
    for run in runs:
        if run.load_image not in loaders:
            loaders.append(run.load_image)
        loader, total = loaders.index(run.load_image), len(run.tokens.examples)
        chosen = range(total) if limit is None else sorted({at * total // limit for at in range(limit)})
        examples = []
        for at in chosen if total else ():
            example = run.tokens.examples[at]
            key = f"{loader}/{example.image}"
            if key not in images:
                images[key] = _embed(run.load_image(example.image))
            examples.append(_example(example, key, _parts(run.tokens, at)))
        first = run.tokens.examples[run.first].id if total else ""
        shown.append({"title": run.title, "first": first, **_levels_and_grid(run.tokens), "examples": examples})
    meant = {kind: explain_kind(kind) for kind in KINDS}
    return {
        "runs": shown,
        "start": start,
        "pictures": images,
        "meant": meant,
        "removed": explain_kind("contributions", by_removal=True),
    }


def _example(example: RecordedExample, image: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    known = {"id": example.id, "family": example.family, "text": example.text, "tokens": list(example.tokens)}
    answers = {"truth": example.truth, "prediction": example.prediction}
    return {**known, **answers, "picture": image, "parts": parts}


def _levels_and_grid(tokens: Tokens) -> dict[str, Any]:
    levels: dict[Modality, list[int]] = {}
    for modality, kind in product(MODALITIES, KINDS):
        for depth in tokens.depths(kind, modality)[:1]:
            levels[modality] = list(
                tokens.experts_levels(modality, tokens.values[f"{kind}/{modality}/{depth}"].shape[1])
            )
    grid = tokens.grid
    return {
        "levels": levels,
        "removed": [name.partition("/")[2] for name in tokens.values if name.startswith("by_removal/")],
        "colours": {modality: theme.level_colours(len(own)) for modality, own in levels.items()},
        "grid": None if grid is None else [grid.rows, grid.columns, grid.prefix],
        "first_layer": tokens.first_layer,
    }


def _parts(tokens: Tokens, example: int) -> dict[str, list[list[int | None]]]:
    """Return each real token's strongest level, its strength, and all parts: KIND/MODALITY/DEPTH → [tokens][numbers].

    The level is its place in the tower's list, None for previous states alone; strength and parts (of the levels, then
    of the previous states) are thousandths, None where the manager is not offered a level.
    """
    parts = {}
    for modality, kind in product(MODALITIES, KINDS):
        for depth in tokens.depths(kind, modality):
            found = token_levels(tokens, example, modality, depth, kind)
            if found and np.isfinite([list(each.parts.values()) for each in found]).all():
                parts[f"{kind}/{modality}/{depth}"] = [
                    [None if each.level is None else each.levels.index(each.level), _thousandths(each.strength)]
                    + [_thousandths(share) for share in each.shares]
                    + ([] if each.previous is None else [_thousandths(each.previous)])
                    for each in found
                ]
    return parts


def _thousandths(share: float | None) -> int | None:
    return None if share is None else round(1000 * share)


def _embed(image: ImageArray | Missing) -> Mapping[str, Any]:
    from PIL import Image

    if isinstance(image, Missing):
        return {"why": image.why}
    small = Image.fromarray(image)
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    uri = image_uri(np.asarray(small))
    if len(uri) > MAX_PNG_LETTERS:
        uri = image_uri(np.asarray(small), "jpeg", quality=88)
    return {"uri": uri, "width": small.width, "height": small.height}


def image_uri(image: ImageArray, kind: str = "png", **options: int) -> str:
    """Encode an image in a data URI."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
