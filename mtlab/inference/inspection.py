"""Which level each word and each patch draws on: of recorded examples, or of any image and sentence on the spot.

Shapes: R rows of a manager (experts, then previous states), L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlab.data.base import SPLITS, Dataset, Example
from mtlab.errors import UserError, nearest
from mtlab.recording import reader, run_dataset
from mtlab.recording.reader import Missing, RecordedExample, Tokens
from mtlab.recording.run_dataset import ImageArray
from mtlab.runs.find_run import FinishedRun, find_run

if TYPE_CHECKING:
    from mtlab.inference.encoding import Model

MAX_IDS = 5000  #: ids among which a nearest one is still sought
Pair = tuple[Path, str]  #: a file with an image, and a sentence


@dataclass(frozen=True)
class Inspection:
    """What a model does with some examples."""

    title: str
    about: str  #: which checkpoint, in a line
    tokens: Tokens
    example: int  #: the place of the one that was asked for
    picture: Callable[[str], ImageArray | Missing]  #: by `RecordedExample.image`
    remarks: tuple[str, ...] = ()


def inspect(
    target: str,
    root: Path,
    *,
    pair: Pair | None = None,
    example: str | None = None,
    device: str = "cpu",
    plugins: bool = True,
) -> Inspection:
    """Look into a model.

    Recorded examples are read from the run, without torch; for anything else the model is run.

    Args:
        target: a run, a checkpoint of it, or the folder of an imported checkpoint; see `mtlab.load`.
        root: the store in which studies and ids are looked up.
        pair: an image and a sentence of the user's.
        example: id of an example of the run's data, or the number of a recorded one, from 1; None: the first of these.
        device: where the model runs.
        plugins: may the plug-ins be imported that the run was trained with?

    Raises:
        UserError: there is no such run or example, or the model or its data cannot be had.

    """
    folder = Path(target).expanduser()
    if (folder / "origin.json").is_file():
        if pair is None:
            raise UserError(
                "an imported checkpoint has no examples of its own: give --image FILE and --text SENTENCE", file=folder
            )
        return _pair(_loaded(target, root, device, plugins=plugins), pair, folder.resolve().name, "imported checkpoint")
    found = find_run(target, root)
    best = found.checkpoint.name == "best.safetensors"
    about = f"{found.id}, {found.checkpoint.stem} checkpoint"
    if pair is not None:
        return _pair(_loaded(target, root, device, plugins=plugins), pair, found.title, about)
    data, known = run_dataset.open_dataset(found.config), reader.read_tokens(found.folder) if best else None
    if isinstance(known, Tokens) and known.examples:
        place = 0 if example is None else _recorded(known, example)
        if place is not None:
            about += "" if known.step is None else f", of step {known.step}"
            return Inspection(found.title, about, known, place, lambda key: run_dataset.load_image(data, key))
    if not isinstance(data, Missing):
        _find(data, example, known, found)  # before the model is loaded, which takes seconds
    model = _loaded(target, root, device, plugins=plugins)
    data = _dataset(model) if isinstance(data, Missing) else data
    chosen = _find(data, example, known, found)
    truth = data.answers[chosen.target] if chosen.target >= 0 else "none of the answers"
    told = RecordedExample(chosen.id, chosen.family, chosen.text, chosen.image, (), truth)
    picture = data.image(chosen.image)
    why = f"{known.why}: the model was run on it now" if isinstance(known, Missing) and best else None
    tokens, remarks = _run(model, picture, told)
    remarks = (*remarks, *([why] if why else []))
    return Inspection(found.title, about, tokens, 0, lambda _: picture, remarks)


def _recorded(known: Tokens, wanted: str) -> int | None:
    """Find a recorded example by its id, else by its number from 1."""
    place = known.find(wanted)
    if place is None and wanted.isdecimal() and 0 < int(wanted) <= len(known.examples):
        return int(wanted) - 1
    return place


def _loaded(target: str, root: Path, device: str, *, plugins: bool) -> Model:
    from mtlab.inference.api import load

    return load(target, store=root, device=device, plugins=plugins)


def _pair(model: Model, pair: Pair, title: str, about: str) -> Inspection:
    from mtlab.inference.encoding import pixels

    picture = pixels(pair[0])
    told = RecordedExample("", pair[0].name, pair[1], pair[0].name, ())
    tokens, remarks = _run(model, picture, told)
    return Inspection(title, about, tokens, 0, lambda _: picture, remarks)


def _run(model: Model, picture: ImageArray, told: RecordedExample) -> tuple[Tokens, tuple[str, ...]]:
    """Run the model on one pair, and bring what its managers did into the form that runs record."""
    from mtlab.recording.probe import flat
    from mtlab.towers.build import token_grid, token_strings

    encoded = model.encode([picture], [told.text], record=True)
    values: dict[str, Any] = {}
    length = encoded.text.shape[1]
    for (modality, depth), each in (encoded.recorded or {}).items():
        for kind, rows in (("weights", each.weights), ("contributions", each.contributions)):
            if rows is not None:
                values[f"{kind}/{modality}/{depth}"] = flat(rows, each.hidden).numpy().astype(np.float32)
    if encoded.text_mask is not None:
        values["mask/text"] = encoded.text_mask.bool().numpy()
        length = int(values["mask/text"].sum())
    pieces = (token_strings(model.config["text"], [told.text]) or [[]])[0]
    words = pieces if len(pieces) == length else [f"token {number}" for number in range(1, length + 1)]
    grid, remarks = token_grid(model.config["vision"]), []
    prediction = None
    if model.network.task.images > 1:
        remarks.append("it answers about several pictures at once: there is no answer about one")
    elif model.answers:
        (prediction,) = model.answer([picture], [told.text])
    else:
        remarks.append("the names of its answers are not known: no answer is shown")
    laid = None if grid is None else reader.PatchGrid(grid.rows, grid.columns, grid.prefix)
    told = replace(told, tokens=tuple(words), prediction=prediction)
    return Tokens(values, model.levels, (told,), laid), tuple(remarks)


def _dataset(model: Model) -> Dataset:
    """Make the data set of a run whose plug-ins are there by now."""
    from mtlab.config.nodes import lookup_options
    from mtlab.data.base import DATASETS

    entry, options = lookup_options(DATASETS, model.config["data"], "data")
    return entry.cls(options)


def _find(data: Dataset, wanted: str | None, known: Tokens | Missing | None, found: FinishedRun) -> Example:
    """Find an example of any split by its id, validation first; the first of validation without an id.

    Raises:
        UserError: there is none; the nearest id is offered.

    """
    ids: list[str] = [told.id for told in known.examples] if isinstance(known, Tokens) else []
    for split in sorted(SPLITS, key=("val", "test", "train").index):
        examples = data.examples(split)
        for each in examples:
            if wanted is None or each.id == wanted:
                return each
        ids += [each.id for each in examples[: max(0, MAX_IDS - len(ids))]]
    raise UserError(f"no example {wanted!r} in the data of {found.title}; {_near(wanted, ids)}", key="--example")


def _near(wanted: str | None, ids: list[str]) -> str:
    told = nearest(wanted, ids)
    return told if told.startswith("did you") else f"they are called like {', '.join(ids[:3])}"


def summary(inspected: Inspection, kind: reader.Kind) -> Mapping[str, Any]:
    """Write the example that was asked for as plain data, see docs/json.md."""
    from mtlab.recording.token_levels import level_numbers, token_levels

    tokens, place = inspected.tokens, inspected.example
    told = tokens.examples[place]
    modalities: dict[str, Any] = {}
    for modality in reader.MODALITIES:
        layers = []
        levels: tuple[int, ...] = ()
        for depth in tokens.depths(kind, modality):
            rows = tokens.experts(kind, modality, depth, place)
            if rows is None:
                continue
            levels = level_numbers(tokens, modality, rows)
            made = [
                {"token": each.token, "level": each.level, "parts": list(each.shares), "place": each.place}
                for each in token_levels(tokens, place, modality, depth, kind)
            ]
            layers.append({"layer": depth + 1, "tokens": made})
        modalities[modality] = {"levels": list(levels), "layers": layers}
    return {
        "format": 1,
        "title": inspected.title,
        "about": inspected.about,
        "kind": kind,
        "example": {"id": told.id or None, "family": told.family, "text": told.text, "image": told.image},
        "truth": told.truth,
        "prediction": told.prediction,
        **modalities,
        "remarks": list(inspected.remarks),
    }
