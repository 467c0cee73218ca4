"""`mtlab inspect`: which levels each text token and image patch draws on, recorded or computed on the spot.

Shapes: R rows of a manager (experts, then previous states), L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlab.config.nodes import lookup_options
from mtlab.data.base import DATASETS, SPLITS, Dataset, Example, Split
from mtlab.errors import UserError, nearest
from mtlab.recording import reader, run_dataset
from mtlab.recording.reader import Missing, RecordedExample, Tokens
from mtlab.recording.run_dataset import ImageArray
from mtlab.recording.token_levels import token_levels
from mtlab.runs.find_run import FinishedRun, find_run

if TYPE_CHECKING:
    from mtlab.inference.encoding import Model

MAX_IDS = 5000  #: ids that the nearest one is suggested from
Pair = tuple[Path, str]  #: a file with an image, and a sentence


@dataclass(frozen=True)
class Inspection:
    """The manager weights and contributions of a model on some examples."""

    title: str
    about: str  #: which checkpoint, in one line
    tokens: Tokens
    example: int  #: index in `tokens.examples` of the requested one
    load_image: Callable[[str], ImageArray | Missing]  #: by `RecordedExample.image`
    remarks: tuple[str, ...] = ()


def inspect(
    target: str,
    root: Path,
    *,
    pair: Pair | None = None,
    example: str | None = None,
    device: str = "cpu",
    plugins: bool = True,
    named: Sequence[str] | None = None,
) -> Inspection:
    """Return what a model's managers do with an example.

    Recorded examples are read from the run without importing torch; for any other the model is run.

    Args:
        target: a run, a checkpoint of it, or the folder of an imported checkpoint; see `mtlab.load`.
        root: the store in which studies and ids are looked up.
        pair: an image and a text of the user's own.
        example: id of an example of the run's data, or the number of a recorded one, from 1; None: the first recorded.
        device: "cpu", "cuda", "cuda:N" or "auto".
        plugins: import the plug-ins that the run was trained with; False refuses such runs.
        named: see `import_run_plugins`.

    Raises:
        UserError: there is no such run or example, or the model or its data are missing.

    """
    folder = Path(target).expanduser()
    if (folder / "origin.json").is_file():
        if pair is None:
            raise UserError(
                "an imported checkpoint has no examples of its own: give --image FILE and --text SENTENCE", file=folder
            )
        from mtlab.inference.loading import load_imported

        return _pair(load_imported(folder, device), pair, folder.resolve().name, "imported checkpoint")
    found = find_run(target, root)

    def load() -> Model:
        from mtlab.inference.api import load_run

        return load_run(found, device=device, plugins=plugins, named=named)

    best = found.checkpoint.name == "best.safetensors"
    about = f"{found.id}, {found.checkpoint.stem} checkpoint"
    if pair is not None:
        return _pair(load(), pair, found.title, about)
    data, recorded = run_dataset.open_dataset(found.config), reader.read_tokens(found.folder) if best else None
    if isinstance(recorded, Tokens) and recorded.examples:
        index = 0 if example is None else _recorded_index(recorded, example)
        if index is not None:
            about += "" if recorded.step is None else f", of step {recorded.step}"
            if example is not None and recorded.examples[index].id != example:  # ids may be numbers, too
                about += f", number {index + 1} of the recorded examples"
            return Inspection(found.title, about, recorded, index, lambda key: run_dataset.load_image(data, key))
    if not isinstance(data, Missing):
        _find_example(data, example, recorded, found)  # fail before the model is loaded, which takes seconds
    model = load()
    data = _dataset(model) if isinstance(data, Missing) else data
    split, chosen = _find_example(data, example, recorded, found)
    about_example = _read_example(model, data, split, chosen)
    images = [data.image(key) for key in chosen.images[: model.network.task.images]]
    why = f"{recorded.why}: the model was run on it now" if isinstance(recorded, Missing) and best else None
    tokens, remarks = _run(model, images, about_example)
    remarks = (*remarks, *([why] if why else []))
    return Inspection(found.title, about, tokens, 0, lambda _: images[0], remarks)


def _recorded_index(recorded: Tokens, wanted: str) -> int | None:
    """Find a recorded example by its id, else by its number from 1."""
    index = recorded.find(wanted)
    if index is None and wanted.isdecimal() and 0 < int(wanted) <= len(recorded.examples):
        return int(wanted) - 1
    return index


def _pair(model: Model, pair: Pair, title: str, about: str) -> Inspection:
    from mtlab.inference.encoding import pixels

    image = pixels(pair[0])
    example = RecordedExample("", pair[0].name, pair[1], pair[0].name, ())
    tokens, remarks = _run(model, [image], example)
    return Inspection(title, about, tokens, 0, lambda _: image, remarks)


def _run(model: Model, images: Sequence[ImageArray], example: RecordedExample) -> tuple[Tokens, tuple[str, ...]]:
    """Run the model on a text and its images; return its managers' outputs as runs record them, with remarks.

    Where a text goes with several images and one is given, the model reads the text with this one alone.
    """
    from mtlab.recording.probe import per_token
    from mtlab.towers.build import token_grid, token_strings

    asked = [images[0] if len(images) == 1 else tuple(images)]
    encoded = model.encode(asked, [example.text], record=True)
    values: dict[str, Any] = {}
    length = encoded.text.shape[1]
    for (modality, depth), each in (encoded.recorded or {}).items():
        for kind, rows in (("weights", each.weights), ("contributions", each.contributions)):
            if rows is not None:
                values[f"{kind}/{modality}/{depth}"] = per_token(rows, each.hidden).numpy().astype(np.float32)
        if each.by_removal:
            values[f"by_removal/{modality}/{depth}"] = np.ones((1, 1), np.float32)
    if encoded.text_mask is not None:
        values["mask/text"] = encoded.text_mask.bool().numpy()
        length = int(values["mask/text"].sum())
    pieces = (token_strings(model.config["text"], [example.text]) or [[]])[0]
    words = pieces if len(pieces) == length else [f"token {number}" for number in range(1, length + 1)]
    grid, remarks = token_grid(model.config["vision"]), []
    prediction = None
    if model.network.task.images != len(images):
        remarks.append("it answers about several images at once: there is no answer about one")
    elif model.generator is not None or (model.answers and model.network.task.answering):
        (prediction,) = model.answer(asked, [example.text])
    elif not model.network.task.answering:
        remarks.append("it answers no questions: there is no answer to show")
    else:
        remarks.append("the names of its answers are not known: no answer is shown")
    patches = None if grid is None else reader.PatchGrid(grid.rows, grid.columns, grid.prefix)
    example = replace(example, tokens=tuple(words), prediction=prediction)
    first = model.network.encoder.first_layer
    return Tokens(values, model.levels, (example,), patches, first_layer=first), tuple(remarks)


def _read_example(model: Model, data: Dataset, split: Split, chosen: Example) -> RecordedExample:
    """Return what the model reads of an example, and the right answer, where it has a single one that is public."""
    from mtlab.tasks.base import lookup_task

    task, options = lookup_task(model.config)
    read = RecordedExample(chosen.id, chosen.family, chosen.text, chosen.image, ())
    prompt = task.batch_needs(options).caption_prompt
    if prompt is not None:
        return replace(read, text=prompt)
    if not task.answering or split in data.unlabelled_splits(data.config):
        return read
    right = data.answers[chosen.target] if chosen.target >= 0 else chosen.answer
    return replace(read, truth=right or "none of the answers")


def _dataset(model: Model) -> Dataset:
    """Make the data set of a loaded model, whose plug-ins are imported by now."""
    entry, options = lookup_options(DATASETS, model.config["data"], "data")
    return entry.cls(options)


def _find_example(
    data: Dataset, wanted: str | None, recorded: Tokens | Missing | None, found: FinishedRun
) -> tuple[Split, Example]:
    """Find an example by its id in any split, validation first; without an id, the first of validation.

    Raises:
        UserError: there is none; suggests the nearest id.

    """
    ids: list[str] = [each.id for each in recorded.examples] if isinstance(recorded, Tokens) else []
    for split in sorted(SPLITS, key=("val", "test", "train").index):
        examples = data.examples(split)
        for each in examples:
            if wanted is None or each.id == wanted:
                return split, each
        ids += [each.id for each in examples[: max(0, MAX_IDS - len(ids))]]
    raise UserError(f"no example {wanted!r} in the data of {found.title}; {_suggestion(wanted, ids)}", key="--example")


def _suggestion(wanted: str | None, ids: list[str]) -> str:
    nearest_id = nearest(wanted, ids)
    return nearest_id if nearest_id.startswith("did you") else f"they are called like {', '.join(ids[:3])}"


def summary(inspected: Inspection, kind: reader.Kind) -> Mapping[str, Any]:
    """Return the requested example as plain data, see docs/json.md."""
    tokens, index = inspected.tokens, inspected.example
    example = tokens.examples[index]
    modalities: dict[str, Any] = {}
    for modality in reader.MODALITIES:
        layers = []
        levels: tuple[int, ...] = ()
        for depth in tokens.depths(kind, modality):
            found = token_levels(tokens, index, modality, depth, kind)
            levels = found[0].levels if found else levels
            rows_of_tokens = [
                {
                    "token": each.token,
                    "level": each.level,
                    "parts": list(each.shares),
                    "previous": each.previous,
                    "place": each.place,
                }
                for each in found
            ]
            by_removal = kind == "contributions" and tokens.by_removal(modality, depth)
            layers.append({"layer": depth + tokens.first_layer, "by_removal": by_removal, "tokens": rows_of_tokens})
        modalities[modality] = {"levels": list(levels), "layers": layers}
    return {
        "format": 1,
        "title": inspected.title,
        "about": inspected.about,
        "kind": kind,
        "example": {"id": example.id or None, "family": example.family, "text": example.text, "image": example.image},
        "truth": example.truth,
        "prediction": example.prediction,
        **modalities,
        "remarks": list(inspected.remarks),
    }
