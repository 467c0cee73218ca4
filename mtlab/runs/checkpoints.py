"""Checkpoints: one safetensors file each, written whole or not at all, and never pickled.

`last.safetensors` holds all that resuming needs; `best.safetensors` the model alone, as validation chose it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mtlab import checksums, files

ADVICE = "`mtlab clean --yes` sets the run aside, and `mtlab run` trains it again"  #: for finished runs
ASIDE = ".corrupt-"  #: what the names of files set aside end with, and a word of chance


class CorruptError(Exception):
    """A checkpoint cannot be read, or is not what was written."""


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """Write tensors and JSON metadata in place of `path`; return the file's checksum.

    Raises:
        UserError: the disk is full, or the folder may not be written.

    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with files.atomic_write(path) as scratch:
        scratch.touch()
        mode = scratch.stat().st_mode
        save_file(held, scratch, checksums.safetensors_metadata(metadata))
        scratch.chmod(mode)  # safetensors lets nobody but the owner read
        return checksums.embed(scratch)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save` wrote: tensors on the CPU, and the metadata.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptError: it is cut off, changed in any bit, or no checkpoint of ours.

    """
    try:
        intact = checksums.verify(path)
        with safe_open(path, framework="pt") as file:
            words = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no iterator
        metadata: dict[str, Any] = json.loads(words[checksums.METADATA_KEY])
        del metadata[checksums.CHECKSUM_KEY]
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorruptError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error
    if not intact:
        raise CorruptError(f"{path.name} has changed since it was written (its checksum differs)")
    return tensors, metadata


def set_aside(path: Path) -> Path:
    """Rename a corrupt file, so that nothing reads it again and nothing is lost; return its new name."""
    aside = path.with_name(f"{path.name}{ASIDE}{secrets.token_hex(3)}")
    path.replace(aside)
    return aside


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Give the parameters and buffers worth keeping, each under one name: all but those of frozen towers."""
    kept: dict[str, Tensor] = {}
    seen: set[int] = set()
    frozen = tuple(f"{name}." for name, module in model.named_modules() if _is_frozen_tower(name, module))
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen and not name.startswith(frozen):
            seen.add(id(tensor))
            kept[name] = tensor.detach()
    return kept


@torch.no_grad()
def restore(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy what `model_tensors` gave back into the model.

    Raises:
        CorruptError: names or shapes are those of another model.

    """
    own = model_tensors(model)
    if {name: tensor.shape for name, tensor in own.items()} != {name: tensor.shape for name, tensor in tensors.items()}:
        raise CorruptError("the checkpoint is of another model")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the tensors whose names start with `prefix/`, without it."""
    return {name.removeprefix(f"{prefix}/"): held for name, held in tensors.items() if name.startswith(f"{prefix}/")}


def _is_frozen_tower(name: str, module: nn.Module) -> bool:
    return name.startswith("towers.") and name.count(".") == 1 and not any(p.requires_grad for p in module.parameters())
