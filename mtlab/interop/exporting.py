"""`mtlab export`: write a model in the authors' checkpoint format or in Hugging Face's."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlab import files
from mtlab.errors import UserError, place_errors
from mtlab.interop import export_layout, huggingface
from mtlab.interop.architecture import FAMILIES
from mtlab.interop.export_source import ExportSource, read_source
from mtlab.interop.heads import HEADS, TEMPERATURE
from mtlab.interop.weight_names import CheckpointLayout, Dialect, to_theirs, weight_mappings
from mtlab.runs import imported_checkpoint
from mtlab.runs.archive import name_archives

Log = Callable[[str], None]  #: called with a line before each step
POOLER = "text_model.pooler.dense"  #: never read, but Hugging Face's code allocates it
OFFICIAL_POOLER = "text_transformer.pooler.dense"


@dataclass(frozen=True)
class ExportSummary:
    """What was written, and what was left out."""

    family: str
    weights: int  #: tensors written
    exact: bool  #: whether it is the imported checkpoint, unused weights included
    left_out: tuple[str, ...]  #: heads that the format lacks
    notes: tuple[str, ...]  #: where code that loads it computes differently


Beside = Callable[[Path, ExportSummary], None]  #: takes the folder


def export(
    source: Path, dialect: Dialect, out: Path, log: Log = lambda _: None, beside: Beside = lambda *_: None
) -> ExportSummary:
    """Write a model in a published format, whole or not at all.

    Args:
        source: the folder of an imported checkpoint, or of a finished run.
        dialect: "official" writes a `.ckpt` file, "huggingface" a folder for `from_pretrained`.
        out: the file or folder to write, which must not exist.
        log: called with a line before each step.
        beside: writes more into a folder of Hugging Face's, before that takes its place.

    Raises:
        UserError: the format cannot hold the model, or `source` cannot be read.

    """
    if out.exists() or out.is_symlink():
        raise UserError("exists already: name another place, or remove it first", file=out)
    log(name_archives(f"reading {source}"))
    read = read_source(source)
    with place_errors(file=source):
        layout, unmapped, exact = plan_layout(read, dialect)
        theirs = to_theirs(read.tensors, unmapped, weight_mappings(layout, read.task))
    kinds = set(read.layout.heads) if read.layout is not None else set()
    if not exact:
        kinds |= set(HEADS[read.task])
    there = {kind for kind in kinds if kind in layout.heads}
    summary = ExportSummary(
        family=FAMILIES[layout.family],
        weights=len(theirs),
        exact=exact and read.resized is None,
        left_out=tuple(sorted(kinds - there - _absent_heads(read, kinds))),
        notes=export_layout.notes(read, dialect),
    )
    log(f"writing {out}")
    if dialect == "official":
        with files.atomic_write(out) as scratch:
            whole = {name: tensor.clone() for name, tensor in theirs.items()}  # a view would be saved with all it views
            _save({"state_dict": whole, "hyper_parameters": {"config": _settings(read.config)}}, scratch)
    else:
        with files.new_folder(out) as scratch:
            files.write_json(scratch / "config.json", _configuration(read, layout, exact=exact))
            imported_checkpoint.save_tensors(scratch / "model.safetensors", theirs)
            if read.preprocessing is not None:
                files.write_json(scratch / "preprocessor_config.json", huggingface.image_processor(read.preprocessing))
            huggingface.copy_tokeniser(read.text_folder, scratch)
            beside(scratch, summary)
    return summary


def plan_layout(read: ExportSource, dialect: Dialect) -> tuple[CheckpointLayout, dict[str, Tensor], bool]:
    """Return the layout to write, the unused weights to add, and whether both are the imported checkpoint's own.

    Raises:
        UserError: the format cannot hold the model.

    """
    if read.layout is not None and read.layout.dialect == dialect:
        return read.layout, dict(read.unmapped or {}), True
    layout = export_layout.export_layout(read, dialect)
    unused = _unused_weights(read, layout)
    return dataclasses.replace(layout, dead=frozenset(unused)), unused, False


def _save(data: dict[str, Any], path: Path) -> None:
    """Write a PyTorch file; a full disk, which torch reports as an unexpected position, is raised as `OSError`."""
    try:
        torch.save(data, path)
    except RuntimeError as error:
        raise OSError(errno.ENOSPC, str(error), str(path)) from error


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that shapes do not determine, named as in the published scripts."""
    model = config["model"]
    return {"num_heads": model["heads"], "drop_rate": model["dropout"], "max_text_len": config["text"]["max_length"]}


def _unused_weights(read: ExportSource, layout: CheckpointLayout) -> dict[str, Tensor]:
    """Return the weights that both formats hold and never read: the text tower's pooler and a contrast's temperature.

    An unknown pooler is written as zeros for Hugging Face, whose code warns of a missing one.
    """
    names = {"official": OFFICIAL_POOLER, "huggingface": f"{layout.prefix}{POOLER}"}
    unmapped = {key: tensor for key, tensor in (read.unmapped or {}).items() if "pooler.dense." in key}
    found = {f"{names[layout.dialect]}.{key.rpartition('.')[2]}": tensor for key, tensor in unmapped.items()}
    if not found and layout.dialect == "huggingface":
        width = read.text.config.hidden_size
        name = names[layout.dialect]
        found = {f"{name}.weight": torch.zeros(width, width), f"{name}.bias": torch.zeros(width)}
    if layout.dialect == "official" and f"task.itc.{TEMPERATURE}" in read.tensors:
        found[TEMPERATURE] = read.tensors[f"task.itc.{TEMPERATURE}"]
    return found


def _configuration(read: ExportSource, layout: CheckpointLayout, *, exact: bool) -> Mapping[str, Any]:
    if not exact or not read.their_config:
        return huggingface.configuration(read, layout)
    vision = dict(read.their_config.get("vision_config") or {})
    size = read.vision.patch_embed.img_size[0]  # the import may have resized the positions
    resized = {} if vision.get("image_size", 288) == size else {"vision_config": vision | {"image_size": size}}
    return {**read.their_config, **resized}


def _absent_heads(read: ExportSource, kinds: set[str]) -> set[str]:
    """Return the heads that the task may have and this model lacks."""
    imported = set(read.layout.heads) if read.layout is not None else set()
    places = HEADS[read.task]
    return {
        kind
        for kind in kinds - imported
        if kind in places and not any(name.startswith(f"{places[kind]}.") for name in read.tensors)
    }
