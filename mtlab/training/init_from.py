"""Starting from another run's weights, or from a file's: `init_from`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mtlab import checksums, files
from mtlab.disk_cache import file_digest, files_digest
from mtlab.errors import UserError, one_line
from mtlab.managers.base import Modality
from mtlab.model.network import VisionLanguageModel
from mtlab.runs import checkpoints, schemas
from mtlab.runs.imported_checkpoint import is_imported_checkpoint, read_imported_checkpoint, weight_files
from mtlab.towers.build import KINDS, TowerKind, tower_shape
from mtlab.towers.loading.positions import resize_positions
from mtlab.towers.loading.weights import read_tensors

HEADS = "task."  #: how the names of a task's heads start


def find_checkpoint(init_from: Mapping[str, Any], parents: list[Mapping[str, Any]], cells: Path) -> Path:
    """Find the file, or folder of an imported checkpoint, to start from.

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
    if not path.is_file() and not is_imported_checkpoint(path):
        raise UserError("no such checkpoint", file=path, key="init_from")
    if init_from.get("digest") not in (None, digest_checkpoint(path)):
        raise UserError("has changed since the study was planned: plan it again", file=path, key="init_from")
    return path


@torch.no_grad()
def load_initial_weights(
    model: VisionLanguageModel, path: Path, new_managers: Collection[Modality] = ()
) -> tuple[frozenset[str], list[str]]:
    """Load the weights with the same name and shape.

    Returns their names, and lines for the log: what was loaded and what was not.

    Args:
        model: that starts from them.
        path: of the file, or the folder of an imported checkpoint.
        new_managers: the modalities whose managers start anew, see `other_levels`.

    Raises:
        UserError: the file cannot be read, holds code, or nothing in it fits.

    """
    loaded, own = _read(path), checkpoints.model_tensors(model)
    loaded = {name: enlarge(name, tensor, own[name]) if name in own else tensor for name, tensor in loaded.items()}
    new = _of_managers(model, new_managers)
    left = [name for name in loaded if name.startswith(new)]
    loaded = {name: tensor for name, tensor in loaded.items() if not name.startswith(new)}
    fitting = [name for name in own if name in loaded and loaded[name].shape == own[name].shape]
    if not fitting:
        example = next(iter([*loaded, *left]))
        raise UserError(
            f"none of its {len(loaded) + len(left)} tensors (such as {example!r}) fits the model",
            file=path,
            key="init_from",
        )
    for name in fitting:
        own[name].copy_(loaded[name])
    lines = [f"{len(fitting)} of the model's {len(own)} tensors are from {path}"]
    for name, tensor in own.items():
        if name in loaded and name not in fitting:
            lines.append(f"  kept {name}: {tuple(tensor.shape)} here, {tuple(loaded[name].shape)} there")
    if left:
        managers = " and ".join(new_managers)
        lines.append(f"  left {len(left)} weights of the managers of {managers}: they are of other levels")
    missing = [name for name in own if name not in loaded and not name.startswith(new)]
    if heads := [name for name in missing if name.startswith(HEADS)]:
        lines.append(f"  new: {len(heads)} weights of the task's own heads, such as {heads[0]}")
    lines += [f"  kept {name}: not there" for name in missing if not name.startswith(HEADS)]
    unused = [name for name in loaded if name not in own]
    if others := [name for name in unused if name.startswith(HEADS)]:
        lines.append(f"  left {len(others)} weights of another task's heads, such as {others[0]}")
    unused = [name for name in unused if not name.startswith(HEADS)]
    for kind in ("text", "vision"):
        trained = kind in model.towers and any(p.requires_grad for p in model.towers[kind].parameters())
        frozen = [] if trained else [name for name in unused if name.startswith(f"towers.{kind}.")]
        if frozen:  # or not there at all, as its levels come from the cache
            unused = [name for name in unused if name not in frozen]
            lines.append(f"  left {len(frozen)} weights of the {kind} tower: it is frozen, and comes from its own file")
    lines += [f"  left {name}: not in this model" for name in unused]
    return frozenset(fitting), lines


def other_levels(parent: Mapping[str, Any], config: Mapping[str, Any]) -> list[Modality]:
    """Return the modalities whose managers are offered other levels than those of the parent's configuration.

    Weights of single levels have their places among those that are offered: they would be taken for other levels'.
    """
    modalities: dict[TowerKind, Modality] = {"text": "text", "vision": "image"}
    return [each for kind, each in modalities.items() if _offered(kind, parent) != _offered(kind, config)]


def _offered(kind: TowerKind, config: Mapping[str, Any]) -> tuple[int, ...]:
    chosen = config["model"].get("inject", {}).get("levels") if kind == "vision" else None
    return tower_shape(kind, config[kind]).levels if chosen is None else tuple(sorted(chosen))


def config_beside(path: Path) -> dict[str, Any] | None:
    """Return the configuration of the run that a checkpoint is of, None if it does not lie in a run's folder.

    Raises:
        UserError: the run's file is damaged.

    """
    if not _is_of_run(path):
        return None
    file = path.parent.parent / "config.json"
    stored = files.read_json(file)
    schemas.check(stored, schemas.ConfigFile, file)
    config: dict[str, Any] = stored["config"]
    return config


def _of_managers(model: VisionLanguageModel, modalities: Collection[Modality]) -> tuple[str, ...]:
    """Return how the names of the weights of some modalities' managers start, embeddings of levels included."""
    managers = [manager for (modality, _), manager in model.encoder.managers() if modality in modalities]
    found = [f"{name}." for name, module in model.named_modules() if any(module is each for each in managers)]
    return (*found, *(["encoder.level_embeddings"] if "image" in modalities else []))


def trained_towers(path: Path) -> dict[str, int | None]:
    """Return the towers whose weights a run's file holds, by its header → rank of their adapters, or None without any.

    Raises:
        UserError: the file cannot be read.

    """
    found: dict[str, int | None] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for kind in KINDS:
                own = [name for name in file.keys() if name.startswith(f"towers.{kind}.")]  # noqa: SIM118 - no iterator
                ranks = [file.get_slice(name).get_shape()[0] for name in own if ".lora_A." in name]
                if own:
                    found[kind] = next(iter(ranks), None)
    except (SafetensorError, OSError) as error:
        raise UserError(f"cannot be read: {one_line(error)}", file=path) from None
    return found


def enlarge(name: str, loaded: Tensor, own: Tensor) -> Tensor:
    """Fit a weight to a model with more images to a text, or images of another size, as published.

    The token type of a second image starts as that of the first; a vision tower's positions are interpolated, see
    `resize_positions`. Everything else is returned as it is.
    """
    if name == "encoder.image.embeddings.token_type.weight" and len(loaded) < len(own):
        return torch.cat([loaded, loaded[-1:].expand(len(own) - len(loaded), -1)])
    if name == "towers.vision.network.pos_embed" and loaded.shape != own.shape and loaded.shape[2:] == own.shape[2:]:
        with suppress(ValueError):  # no class token and square grid: kept, and logged
            return resize_positions(loaded, own.shape[1])
    return loaded


def digest_checkpoint(path: Path) -> str:
    """Identify a checkpoint by content: a file, or the folder of an imported one.

    Raises:
        UserError: it is missing or cannot be read.

    """
    return files_digest(weight_files(path)) if is_imported_checkpoint(path) else file_digest(path)


def _read(path: Path) -> dict[str, Tensor]:
    if is_imported_checkpoint(path):
        return read_imported_checkpoint(path).tensors
    if _is_of_run(path):
        try:
            return checkpoints.load(path)[0]
        except (FileNotFoundError, checkpoints.CorruptError) as error:
            problem = "is lost" if isinstance(error, FileNotFoundError) else str(error)
            raise UserError(f"{problem}: {checkpoints.ADVICE}", file=path, key="init_from") from None
    if path.is_file() and checksums.verify(path) is False:
        raise UserError("has changed since it was written (its checksum differs)", file=path, key="init_from")
    return {name: tensor for name, tensor in read_tensors(path).items() if isinstance(tensor, Tensor)}


def _is_of_run(path: Path) -> bool:
    return path.parent.name == "checkpoints" and (path.parent.parent / "config.json").is_file()
