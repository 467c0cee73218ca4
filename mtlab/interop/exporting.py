"""`mtlab export`: a model of ours becomes a published checkpoint again: the authors' format, or Hugging Face's."""

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
from mtlab.errors import UserError
from mtlab.interop import export_layout, huggingface
from mtlab.interop.architecture import FAMILIES
from mtlab.interop.export_source import ExportSource, read_source
from mtlab.interop.heads import HEADS, TEMPERATURE
from mtlab.interop.weight_names import CheckpointLayout, Dialect, to_theirs, weight_mappings
from mtlab.runs import imported_checkpoint

Log = Callable[[str], None]  #: is told each step before it is done
POOLER = "text_model.pooler.dense"  #: never read, but Hugging Face's code allocates it
OFFICIAL_POOLER = "text_transformer.pooler.dense"


@dataclass(frozen=True)
class ExportSummary:
    """What came of it."""

    family: str
    weights: int  #: tensors written
    exact: bool  #: the names of the checkpoint that was imported, dead weights and all
    left_out: tuple[str, ...]  #: heads that the format has no place for
    notes: tuple[str, ...]  #: where code that loads it computes otherwise


def export(source: Path, dialect: Dialect, out: Path, told: Log = lambda _: None) -> ExportSummary:
    """Write a model in a published format, whole or not at all.

    Args:
        source: the folder of an imported checkpoint, or of a finished run.
        dialect: "official" writes a `.ckpt` file, "huggingface" a folder for `from_pretrained`.
        out: what to write, which must not exist.
        told: is told each step.

    Raises:
        UserError: the format cannot hold the model; the reason is given. Or `source` cannot be read.

    """
    if out.exists() or out.is_symlink():
        raise UserError("exists already: name another place, or remove it first", file=out)
    told(f"reading {source}")
    read = read_source(source)
    try:
        layout, aside, exact = plan_layout(read, dialect)
        theirs = to_theirs(read.tensors, aside, weight_mappings(layout, read.task))
    except UserError as error:
        raise error.at(file=source) from None
    told(f"writing {out}")
    if dialect == "official":
        with files.atomic_write(out) as scratch:
            whole = {name: tensor.clone() for name, tensor in theirs.items()}  # a view would be saved with all it views
            _save({"state_dict": whole, "hyper_parameters": {"config": _settings(read.config)}}, scratch)
    else:
        with files.new_folder(out) as scratch:
            files.write_json(scratch / "config.json", _configuration(read, layout, exact=exact))
            imported_checkpoint.save_tensors(scratch / "model.safetensors", theirs)
            huggingface.copy_tokeniser(read.text_folder, scratch)
    kinds = set(HEADS[read.task]) | set(read.layout.heads if read.layout is not None else ())
    there = {kind for kind in kinds if kind in layout.heads}
    return ExportSummary(
        family=FAMILIES[layout.family],
        weights=len(theirs),
        exact=exact,
        left_out=tuple(sorted(kinds - there - _unheld(read, kinds))),
        notes=export_layout.notes(read, dialect),
    )


def plan_layout(read: ExportSource, dialect: Dialect) -> tuple[CheckpointLayout, dict[str, Tensor], bool]:
    """Say which names are written, which weights that nothing reads go with them, and whether all is as imported.

    Raises:
        UserError: the format cannot hold the model.

    """
    if read.layout is not None and read.layout.dialect == dialect:
        return read.layout, dict(read.aside or {}), True
    layout = export_layout.export_layout(read, dialect)
    dead = _dead(read, layout)
    return dataclasses.replace(layout, dead=frozenset(dead)), dead, False


def _save(data: dict[str, Any], path: Path) -> None:
    """Write a file of torch's. It tells of a full disk as of a position that it did not expect: that is put right."""
    try:
        torch.save(data, path)
    except RuntimeError as error:
        raise OSError(errno.ENOSPC, str(error), str(path)) from error


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write what shapes do not tell under the names of the published scripts' settings, as Lightning keeps them."""
    model = config["model"]
    return {"num_heads": model["heads"], "drop_rate": model["dropout"], "max_text_len": config["text"]["max_length"]}


def _dead(read: ExportSource, layout: CheckpointLayout) -> dict[str, Tensor]:
    """Carry over what both formats allocate and never read: the text tower's pooler, and the temperature of a contrast.

    A pooler that is not known is written as zeros for Hugging Face, whose code would otherwise tell of a missing one.
    """
    names = {"official": OFFICIAL_POOLER, "huggingface": f"{layout.prefix}{POOLER}"}
    aside = {key: tensor for key, tensor in (read.aside or {}).items() if "pooler.dense." in key}
    found = {f"{names[layout.dialect]}.{key.rpartition('.')[2]}": tensor for key, tensor in aside.items()}
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


def _unheld(read: ExportSource, kinds: set[str]) -> set[str]:
    """Name the heads that our task could have and this model has not."""
    imported = set(read.layout.heads) if read.layout is not None else set()
    places = HEADS[read.task]
    return {
        kind
        for kind in kinds - imported
        if kind in places and not any(name.startswith(f"{places[kind]}.") for name in read.tensors)
    }
