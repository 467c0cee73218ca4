"""Starting from another run's weights, or from a file's: `init_from`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlab.errors import UserError
from mtlab.model import VisionLanguageModel
from mtlab.towers.facts import file_digest
from mtlab.towers.weights import read_tensors
from mtlab.training import checkpoints


def source(init_from: Mapping[str, Any], parents: list[Mapping[str, Any]], cells: Path) -> Path:
    """Find the file to start from.

    Args:
        init_from: `{checkpoint, digest}`, or `{cell, …}` of the parent run.
        parents: the run's parents, `{cell, seed}` each.
        cells: the folder of all cells.

    Raises:
        UserError: the file is missing, or has changed since the study was planned.

    """
    if "checkpoint" not in init_from:
        parent = next(parent for parent in parents if parent["cell"] == init_from["cell"])
        run = cells / parent["cell"] / f"s{parent['seed']}"
        if not (run / "result.json").is_file():
            raise UserError("the parent run is not finished: start it by `mtlab run`", file=run, key="init_from")
        return Path(run / "checkpoints" / "best.safetensors")
    path = Path(init_from["checkpoint"])
    if not path.is_file():
        raise UserError("no such checkpoint", file=path, key="init_from")
    if init_from.get("digest") not in (None, file_digest(path)):
        raise UserError("has changed since the study was planned: plan it again", file=path, key="init_from")
    return path


@torch.no_grad()
def start_from(model: VisionLanguageModel, path: Path) -> Iterator[str]:
    """Load what has the same name and shape; say, line by line, what was and what was not.

    Raises:
        UserError: the file cannot be read, holds code, or nothing in it fits.

    """
    given, own = _read(path), checkpoints.model_tensors(model)
    fitting = [name for name in own if name in given and given[name].shape == own[name].shape]
    if not fitting:
        example = next(iter(given))
        raise UserError(
            f"none of its {len(given)} tensors (such as {example!r}) fits the model", file=path, key="init_from"
        )
    for name in fitting:
        own[name].copy_(given[name])
    yield f"{len(fitting)} of the model's {len(own)} tensors are from {path}"
    for name, tensor in own.items():
        if name in given and name not in fitting:
            yield f"  kept {name}: {tuple(tensor.shape)} here, {tuple(given[name].shape)} there"
        elif name not in given:
            yield f"  kept {name}: not there"
    yield from (f"  left {name}: not in this model" for name in given if name not in own)


def _read(path: Path) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in read_tensors(path).items() if isinstance(tensor, Tensor)}
