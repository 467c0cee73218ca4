"""Checkpoints: one safetensors file each, written atomically and never pickled.

`last.safetensors` holds all that resuming needs, `best.safetensors` the model with the best validation metric.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mtlab import checksums, files
from mtlab.distributed.sharding import copy_into, full
from mtlab.errors import one_line

ADVICE = "`mtlab clean --yes` sets the run aside, and `mtlab run` trains it again"  #: for finished runs
ASIDE = ".corrupt-"  #: ends the names of files set aside, before random digits


class CorruptError(Exception):
    """A checkpoint cannot be read, or has changed since it was written."""


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """Write tensors and JSON metadata atomically to `path`; return the file's checksum.

    Raises:
        UserError: the disk is full, or the folder may not be written.

    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with files.atomic_write(path) as scratch:
        scratch.touch()
        mode = scratch.stat().st_mode
        save_file(held, scratch, checksums.safetensors_metadata(metadata))
        scratch.chmod(mode)  # safetensors makes it readable by the owner alone
        return checksums.embed(scratch)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors, on the CPU, and the metadata that `save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptError: it is cut off, changed in any bit, or no checkpoint of ours.
        DiskError: its file system does not answer, and tells nothing of the file.
        ReadOnlyError: it may not be read.

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
        explained = files.as_user_error(error, path, action="read")
        if isinstance(explained, files.DiskError | files.ReadOnlyError):  # it tells nothing of what the file holds
            raise explained from error
        raise CorruptError(f"{path.name} cannot be read: {one_line(error)}") from error
    if not intact:
        raise CorruptError(f"{path.name} has changed since it was written (its checksum differs)")
    return tensors, metadata


class StoredTensors(Mapping[str, Tensor]):
    """The tensors of a file that `load` found intact, here or in another process; each is read when it is asked for.

    Args:
        path: the checkpoint.
        prefix: only those whose names start with it; names are without it.

    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        self._file = cast("Any", safe_open(path, framework="pt"))
        stored = [name for name in self._file.keys() if name.startswith(prefix)]  # noqa: SIM118 - no iterator
        self._stored = {name.removeprefix(prefix): name for name in stored}

    def __getitem__(self, name: str) -> Tensor:
        """Read one, on the CPU."""
        tensor: Tensor = self._file.get_tensor(self._stored[name]).clone()
        return tensor

    def __iter__(self) -> Iterator[str]:
        """Iterate over their names."""
        return iter(self._stored)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._stored)


def set_aside(path: Path) -> Path:
    """Rename a corrupt file, so that it is neither read again nor lost, and return its new path."""
    aside = path.with_name(f"{path.name}{ASIDE}{secrets.token_hex(3)}")
    with files.fence(path):
        path.replace(aside)
    return aside


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers but what is frozen of towers, tied ones under one name."""
    kept: dict[str, Tensor] = {}
    seen: set[int] = set()
    frozen = tuple(f"{name}." for name, module in model.named_modules() if _is_frozen_tower(name, module))
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen and not name.startswith(frozen) and not _is_frozen_of_tower(name, tensor):
            seen.add(id(tensor))
            kept[name] = tensor.detach()
    return kept


def full_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the result of `model_tensors` with what is sharded joined, for the main process: all must call this."""
    return {name: full(tensor) for name, tensor in model_tensors(model).items()}


@torch.no_grad()
def restore(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors of `model_tensors` into a model.

    Raises:
        CorruptError: names or shapes are those of another model.

    """
    own = model_tensors(model)
    if {name: tensor.shape for name, tensor in own.items()} != {name: tensor.shape for name, tensor in tensors.items()}:
        raise CorruptError("the checkpoint is of another model")
    for name, tensor in own.items():
        copy_into(tensor, tensors[name])


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix/`, with the prefix removed."""
    return {name.removeprefix(f"{prefix}/"): held for name, held in tensors.items() if name.startswith(f"{prefix}/")}


def _is_frozen_of_tower(name: str, tensor: Tensor) -> bool:
    return name.startswith("towers.") and isinstance(tensor, nn.Parameter) and not tensor.requires_grad


def _is_frozen_tower(name: str, module: nn.Module) -> bool:
    return name.startswith("towers.") and name.count(".") == 1 and not any(p.requires_grad for p in module.parameters())
