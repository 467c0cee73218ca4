"""`mtlab import`: convert a published checkpoint to a model of ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlab import files
from mtlab.disk_cache import file_digest, files_digest
from mtlab.errors import UserError, nearest, place_errors
from mtlab.interop import architecture, huggingface, lightning
from mtlab.interop.families import Shapes, detect_layout
from mtlab.interop.heads import HEADS
from mtlab.interop.weight_names import (
    UNMAPPED,
    CheckpointLayout,
    WeightMapping,
    check_names,
    list_names,
    to_ours,
    weight_mappings,
)
from mtlab.resolution.defaults import fill_defaults
from mtlab.runs import imported_checkpoint
from mtlab.runs.imported_checkpoint import TEXT_FOLDER
from mtlab.tasks.build import build, construct
from mtlab.towers.build import build_tower, tower_shape
from mtlab.towers.loading import text_encoders
from mtlab.towers.loading.positions import resize_positions

POSITIONS = "towers.vision.network.pos_embed"
STANDARDISATION = (".projections.centre_", ".projections.spread_")  #: buffers that published models do not have
Log = Callable[[str], None]  #: called with a line before each step


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Options of `mtlab import`."""

    task: str | None = None  #: the task whose heads the model gets; None: the checkpoint's
    image_size: int | None = None  #: pixels; None: the checkpoint's
    text: str | None = None  #: folder or hub name to take the text tower's settings and tokeniser from
    hyperparameters: architecture.Hyperparameters = architecture.Hyperparameters()


@dataclass(frozen=True)
class ImportSummary:
    """What was imported, left out and initialised."""

    family: str
    task: str
    weights: int  #: tensors of the checkpoint that our model holds
    parameters: int
    dead: tuple[str, ...]  #: published names of weights that nothing reads
    other_heads: tuple[str, ...]  #: heads of other tasks, kept for export
    drawn: tuple[str, ...]  #: weights of our heads that the checkpoint lacks, initialised at random
    resized: tuple[int, int] | None  #: image size, before and after
    tokeniser: bool


def import_checkpoint(source: Path, out: Path, options: ImportOptions, log: Log = lambda _: None) -> ImportSummary:
    """Read a checkpoint, check every weight, and write it as a folder of ours, completely or not at all.

    Args:
        source: a `.ckpt` file of METER, BridgeTower or ManagerTower, or a folder of Hugging Face's BridgeTower.
        out: the folder to write, which must not exist.
        options: see `ImportOptions`.
        log: called with a line before each step.

    Raises:
        UserError: the checkpoint is of another family, damaged or holds code; weights are missing, unknown or of
            another shape; the disk is full. Nothing is written.

    """
    with files.new_folder(out) as scratch:
        log(f"reading {source}")
        read = huggingface.read_folder(source) if source.is_dir() else _official(source)
        with place_errors(file=source):
            return _import(source, scratch, read, options, log)


def _official(path: Path) -> huggingface.PublishedCheckpoint:
    found = lightning.read_file(path)
    return huggingface.PublishedCheckpoint(found.tensors, lightning.hyperparameters(found.options), {}, None)


def _import(
    source: Path, scratch: Path, read: huggingface.PublishedCheckpoint, options: ImportOptions, log: Log
) -> ImportSummary:
    shapes = {name: tuple(tensor.shape) for name, tensor in read.tensors.items()}
    layout = detect_layout(shapes)
    if layout.dialect == "huggingface" and not read.config:
        raise UserError("is a file of Hugging Face's BridgeTower: give its folder, whose config.json tells the rest")
    hyperparameters = _merge(read.hyperparameters, options.hyperparameters)
    sizes = architecture.infer_sizes(layout, shapes)
    name = options.task or architecture.guess_task(layout)
    if name not in HEADS:
        raise UserError(f"no published head goes with the task {name!r}; {nearest(name, HEADS)}", key="--task")
    if name == "reasoning" and layout.type_rows == 2:
        raise UserError(
            "was pre-trained for one image: import it without --task, and `init_from` of a study enlarges it",
            key="--task",
        )
    tokeniser = _text_folder(scratch, read, options, layout, sizes, hyperparameters)
    config, answers = _config(layout, shapes, sizes, hyperparameters, name)

    log(f"checking {len(shapes)} weights of {architecture.FAMILIES[layout.family]}")
    entries = weight_mappings(layout, name)
    check_names(set(shapes), {each for entry in entries for each in entry.theirs})
    expected = expected_weights(_with_tower_paths(config, scratch), answers)
    check_shapes(read.tensors, expected, entries)
    ours, unmapped = to_ours(read.tensors, entries)
    drawn = _random_weights(ours, expected, _with_tower_paths(config, scratch), answers)

    before = config["vision"]["image_size"]
    after = options.image_size or before
    if after != before:
        _resize(ours, config["vision"], after)
    log("writing")
    imported_checkpoint.write_weights(scratch, ours | drawn | _unstandardised(expected), log)
    if unmapped:
        imported_checkpoint.save_tensors(scratch / imported_checkpoint.DEAD, unmapped)
    files.write_json(scratch / imported_checkpoint.CONFIG, config | {"answers": answers})
    dead = tuple(sorted(set(unmapped) & layout.dead))
    resized = None if after == before else (before, after)
    origin = _origin(source, layout, read, name, len(ours), dead) | {"resized": resized}
    files.write_json(scratch / imported_checkpoint.ORIGIN, origin)
    return ImportSummary(
        family=architecture.FAMILIES[layout.family],
        task=name,
        weights=len(ours),
        parameters=sum(tensor.numel() for tensor in ours.values()),
        dead=dead,
        other_heads=tuple(kind for kind in layout.heads if kind not in HEADS[name]),
        drawn=tuple(drawn),
        resized=resized,
        tokeniser=tokeniser,
    )


def expected_weights(config: Mapping[str, Any], answers: int) -> dict[str, Tensor]:
    """Return a model's state dict, towers included, on the meta device: names and shapes only."""
    text, vision = tower_shape("text", config["text"]), tower_shape("vision", config["vision"])
    with torch.device("meta"):
        towers = (
            build_tower("text", config["text"], weights=False),
            build_tower("vision", config["vision"], weights=False),
        )
        model = construct(config, text, vision, answers=answers, text_tower=towers[0], vision_tower=towers[1])
    return dict(model.state_dict())


def _config(
    layout: CheckpointLayout,
    shapes: Shapes,
    sizes: architecture.CheckpointSizes,
    hyperparameters: architecture.Hyperparameters,
    name: str,
) -> tuple[dict[str, Any], int]:
    written = architecture.infer_config(layout, shapes, sizes, hyperparameters)
    written["task"], answers = architecture.infer_task(layout, shapes, sizes, name)
    whole = fill_defaults(written)
    return {key: whole[key] for key in written}, answers


def _with_tower_paths(config: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """Set the towers' paths to the folder that is being written."""
    places = {
        kind: {**config[kind], option: str(scratch / config[kind][option])}
        for kind, option in imported_checkpoint.TOWER_OPTIONS.items()
    }
    return {**config, **places}


def _text_folder(
    scratch: Path,
    read: huggingface.PublishedCheckpoint,
    options: ImportOptions,
    layout: CheckpointLayout,
    sizes: architecture.CheckpointSizes,
    hyperparameters: architecture.Hyperparameters,
) -> bool:
    """Write the text tower's configuration and copy its tokeniser; return whether there is one."""
    folder = scratch / TEXT_FOLDER
    folder.mkdir()
    text = None
    if options.text is not None:
        text = text_encoders.find_or_download(options.text, weights=False)
        hyperparameters = dataclasses.replace(hyperparameters, text=files.read_json(text / "config.json"))
    files.write_json(folder / "config.json", architecture.text_config(layout, sizes, hyperparameters))
    return huggingface.copy_tokeniser(text or read.folder, folder)


def _merge(found: architecture.Hyperparameters, given: architecture.Hyperparameters) -> architecture.Hyperparameters:
    """Override the checkpoint's settings by those that the user gives."""
    default = architecture.Hyperparameters()
    changed = {
        field.name: getattr(given, field.name)
        for field in dataclasses.fields(given)
        if getattr(given, field.name) != getattr(default, field.name)
    }
    return dataclasses.replace(found, **changed)


def check_shapes(theirs: Mapping[str, Tensor], expected: Mapping[str, Tensor], entries: list[WeightMapping]) -> None:
    """Check weights against the shapes that the rest of the checkpoint determines.

    Args:
        theirs: published name → tensor.
        expected: our name → tensor of the right shape, perhaps on the meta device.
        entries: from `weight_mappings`.

    Raises:
        UserError: shapes differ; lists the weights with both shapes.

    """
    problems = []
    for entry in entries:
        live = [name for name in entry.ours if not name.startswith(UNMAPPED)]
        if any(name not in expected for name in live):
            problems += [f"{name} has no place in the model" for name in entry.theirs]
        elif live and len(live) == len(entry.ours):
            fitting = entry.transform.backward([expected[name] for name in entry.ours])
            problems += [
                f"{name} is {_shape(theirs[name].shape)}, expected {_shape(fit.shape)}"
                for name, fit in zip(entry.theirs, fitting, strict=True)
                if theirs[name].shape != fit.shape
            ]
        elif live:  # a table of which some rows are unmapped
            inner = expected[live[0]].shape[1:]
            problems += [
                f"{name}: rows are {_shape(theirs[name].shape[1:])}, expected {_shape(inner)}"
                for name in entry.theirs
                if theirs[name].shape[1:] != inner
            ]
    if problems:
        raise UserError(f"has weights of another shape than the rest: {list_names(problems)}")


def _random_weights(
    ours: Mapping[str, Tensor], expected: Mapping[str, Tensor], config: Mapping[str, Any], answers: int
) -> dict[str, Tensor]:
    """Initialise the weights of heads that the checkpoint lacks; any other missing weight is an error."""
    missing = [name for name in expected if name not in ours and not any(part in name for part in STANDARDISATION)]
    if other := [name for name in missing if not name.startswith("task.")]:
        raise UserError(f"lacks {list_names(other)}")
    if not missing:
        return {}
    text, vision = tower_shape("text", config["text"]), tower_shape("vision", config["vision"])
    state = build(config, text, vision, answers=answers).state_dict()
    return {name: state[name] for name in missing}


def _unstandardised(expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the identity for the buffers of standardisation, which published models lack."""
    found = {}
    for name, tensor in expected.items():
        if STANDARDISATION[0] in name:
            found[name] = torch.zeros(tensor.shape)
        elif STANDARDISATION[1] in name:
            found[name] = torch.ones(tensor.shape)
    return found


def _resize(ours: dict[str, Tensor], vision: dict[str, Any], size: int) -> None:
    if size % vision["patch"]:
        raise UserError(f"patches of {vision['patch']} pixels do not fill {size}", key="--image-size")
    ours[POSITIONS] = resize_positions(ours[POSITIONS], 1 + (size // vision["patch"]) ** 2)
    vision["image_size"] = size


def _origin(
    source: Path,
    layout: CheckpointLayout,
    read: huggingface.PublishedCheckpoint,
    task: str,
    live: int,
    dead: tuple[str, ...],
) -> dict[str, Any]:
    digest = files_digest(huggingface.weight_files(source)) if source.is_dir() else file_digest(source)
    return {
        "family": layout.family,
        "source": source.name,
        "digest": digest,
        "task": task,
        "weights": {"theirs": len(read.tensors), "ours": live, "dead": len(dead)},
        "layout": dataclasses.asdict(layout) | {"dead": sorted(layout.dead)},
        "config": read.config,
    }


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "one number"
