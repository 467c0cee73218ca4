"""The folder of an imported checkpoint, from which a model can be loaded, fine-tuned and exported.

    config.json          sections text, vision, model, manager, task of a configuration, and `answers`
    model.safetensors    the cross-modal encoder and the task's heads, under our names
    text/                the text tower as a transformers folder: config.json, model.safetensors, perhaps a tokeniser
    vision.safetensors   the vision tower, under timm's names
    dead.safetensors     weights of the published checkpoint that our model lacks, for `mtlab export`
    origin.json          where it comes from: family, digest, counts of weights

The towers are separate files, so that a study may use either by itself: `text: {name: transformers, model: DIR/text}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtlab import files
from mtlab.errors import UserError, one_line

TEXT_FOLDER, VISION_FILE = "text", "vision.safetensors"  #: the towers, within the folder
CONFIG, MODEL, DEAD, ORIGIN = "config.json", "model.safetensors", "dead.safetensors", "origin.json"
PREFIXES = {  #: file → how the names of its tensors start in the whole model
    f"{TEXT_FOLDER}/model.safetensors": "towers.text.network.",
    VISION_FILE: "towers.vision.network.",
    MODEL: "",
}
#: The options that say where a tower lies, which the stored configuration gives within the folder.
TOWER_OPTIONS = {"text": "model", "vision": "weights"}


@dataclass(frozen=True)
class ImportedCheckpoint:
    """The content of an imported checkpoint's folder."""

    config: dict[str, Any]  #: sections text, vision, model, manager and task; towers by absolute paths
    answers: int  #: of the task's head
    tensors: dict[str, Tensor]  #: our name → tensor: the whole model, towers included
    unmapped: dict[str, Tensor]  #: published name → tensor: weights that our model lacks
    origin: dict[str, Any]


def is_imported_checkpoint(path: Path) -> bool:
    """Return whether a path is the folder of an imported checkpoint."""
    return (path / ORIGIN).is_file() and (path / CONFIG).is_file()


def read_imported_config(path: Path) -> tuple[dict[str, Any], int]:
    """Read the configuration, towers by absolute paths, and the number of answers; no weights are read.

    Raises:
        UserError: the folder is not an imported checkpoint, or its configuration is damaged.

    """
    if not is_imported_checkpoint(path):
        raise UserError(f"is no imported checkpoint (it has no {ORIGIN})", file=path)
    stored = files.read_json(path / CONFIG)
    try:
        answers = int(stored.pop("answers"))
        for kind, option in TOWER_OPTIONS.items():
            stored[kind][option] = str((path / stored[kind][option]).resolve())
    except (KeyError, TypeError, ValueError):
        raise UserError("is not the configuration of an imported checkpoint", file=path / CONFIG) from None
    return stored, answers


def read_imported_checkpoint(path: Path) -> ImportedCheckpoint:
    """Read an imported checkpoint.

    Raises:
        UserError: the folder is not one, or a file is missing or damaged.

    """
    config, answers = read_imported_config(path)
    tensors: dict[str, Tensor] = {}
    for name in PREFIXES:
        tensors |= read_weights(path, name)
    unmapped = _read(path / DEAD) if (path / DEAD).exists() else {}
    return ImportedCheckpoint(config, answers, tensors, unmapped, files.read_json(path / ORIGIN))


def read_weights(path: Path, name: str) -> dict[str, Tensor]:
    """Read one of the files in `PREFIXES`: our full name → tensor.

    Raises:
        UserError: it is missing or damaged.

    """
    return {PREFIXES[name] + key: tensor for key, tensor in _read(path / name).items()}


def weight_files(path: Path) -> list[Path]:
    """Return the files that hold the model's weights, which identify it."""
    return [path / name for name in PREFIXES]


def write_weights(path: Path, tensors: Mapping[str, Tensor], log: Callable[[str], None] = lambda _: None) -> None:
    """Write the weights of a whole model into a folder, each tower to a file of its own.

    Args:
        path: the folder, which may hold other files.
        tensors: our name → tensor.
        log: called with the name of each file before it is written.

    """
    left = dict(tensors)
    for name, prefix in PREFIXES.items():
        log(name)
        part = {key.removeprefix(prefix): left.pop(key) for key in list(left) if key.startswith(prefix)}
        save_tensors(path / name, part)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, as transformers and timm read it; tensors that share memory are written twice.

    Errors of the disk are described by `files.new_folder`, which the folder is made with.
    """
    seen: set[int] = set()
    held = {}
    for name, tensor in tensors.items():
        whole = tensor.detach().contiguous()
        part = whole.untyped_storage().nbytes() > whole.nbytes
        held[name] = whole.clone() if part or whole.data_ptr() in seen else whole
        seen.add(whole.data_ptr())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    mode = path.stat().st_mode
    save_file(held, path, {"format": "pt"})
    path.chmod(mode)  # safetensors lets nobody but the owner read


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError("is missing from the imported checkpoint", file=path) from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"is not a readable safetensors file: {one_line(error)}", file=path) from None
