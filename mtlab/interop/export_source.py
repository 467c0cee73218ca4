"""Read a model to export, from the folder of an imported checkpoint or of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlab import files
from mtlab.errors import UserError
from mtlab.interop.weight_names import CheckpointLayout
from mtlab.runs import imported_checkpoint
from mtlab.runs.checkpoints import ADVICE, CorruptError, load
from mtlab.runs.find_run import check_unchanged
from mtlab.towers.build import build_tower
from mtlab.towers.images import ImagePreprocessing
from mtlab.towers.loading import text_encoders
from mtlab.towers.lora import merged_tensors

BEST = Path("checkpoints") / "best.safetensors"  #: of a finished run


@dataclass(frozen=True)
class ExportSource:
    """A model to export, with all its weights."""

    config: Mapping[str, Any]  #: sections text, vision, model, manager, task
    tensors: Mapping[str, Tensor]  #: our name → tensor, towers included
    text: Any  #: the text tower's network, on the meta device
    vision: Any  #: the vision tower's
    text_folder: Path | None  #: may hold a tokeniser
    preprocessing: ImagePreprocessing | None  #: of the vision tower
    layout: CheckpointLayout | None = None  #: of the checkpoint that it was imported from
    unmapped: Mapping[str, Tensor] | None = None  #: weights of the checkpoint that our model lacks
    their_config: Mapping[str, Any] | None = None  #: Hugging Face's configuration of the imported checkpoint
    resized: tuple[int, int] | None = None  #: image size before and after the import, where it changed

    @property
    def task(self) -> str:
        """The registered name of its task."""
        return str(self.config["task"]["name"])


def read_source(path: Path) -> ExportSource:
    """Read the folder of an imported checkpoint or of a finished run.

    Raises:
        UserError: it is neither, or damaged, or the run's towers are missing.

    """
    if imported_checkpoint.is_imported_checkpoint(path):
        return _imported(path)
    if (path / "result.json").is_file() and (path / BEST).is_file():
        return _run(path)
    if (path / "result.json").is_file():
        raise UserError(f"the checkpoint is missing: {ADVICE}", file=path / BEST)
    if (path / "state.json").is_file():
        raise UserError("is a run that is not finished", file=path)
    raise UserError("is neither the folder of an imported checkpoint nor that of a finished run", file=path)


def _imported(path: Path) -> ExportSource:
    found = imported_checkpoint.read_imported_checkpoint(path)
    text, vision, preprocessing = _networks(found.config)
    return ExportSource(
        config=found.config,
        tensors=found.tensors,
        text=text,
        vision=vision,
        text_folder=Path(found.config["text"]["model"]),
        preprocessing=preprocessing,
        layout=_layout(found.origin, path / imported_checkpoint.ORIGIN),
        unmapped=found.unmapped,
        their_config=found.origin.get("config"),
        resized=found.origin.get("resized"),
    )


def _run(path: Path) -> ExportSource:
    content = files.read_json(path / "config.json")
    config = content["config"]
    check_unchanged(path, content, ("text", "vision", "manager"), files=False, sources=True)
    try:
        tensors, _ = load(path / BEST)
    except CorruptError as error:
        raise UserError(str(error), file=path / BEST) from None
    text, vision, preprocessing = _networks(config)
    for kind in ("text", "vision"):
        prefix = f"towers.{kind}."
        kept = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        if kept and config[kind]["lora_rank"] is None:  # fine-tuned whole
            continue
        tower = build_tower(kind, config[kind])  # a run keeps nothing of what is frozen
        check_unchanged(path, content, (kind,))  # once its weights are downloaded
        tower.load_state_dict(kept, strict=False)
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
        tensors |= {prefix + name: tensor for name, tensor in merged_tensors(tower).items()}
    place = config["text"].get("model")
    return ExportSource(config, tensors, text, vision, _tokeniser_folder(place), preprocessing)


def _networks(config: Mapping[str, Any]) -> tuple[Any, Any, ImagePreprocessing | None]:
    """Build the towers' networks without weights, to read their sizes; also return how images are preprocessed."""
    with torch.device("meta"):
        towers = [build_tower(kind, config[kind], weights=False) for kind in ("text", "vision")]
    return getattr(towers[0], "network", None), getattr(towers[1], "network", None), towers[1].preprocessing()


def _tokeniser_folder(model: Any) -> Path | None:
    return text_encoders.find(model) if isinstance(model, str) else None


def _layout(origin: Mapping[str, Any], file: Path) -> CheckpointLayout:
    try:
        stored = {field.name: origin["layout"][field.name] for field in fields(CheckpointLayout)}
    except (KeyError, TypeError):
        raise UserError("does not hold the layout of the checkpoint", file=file) from None
    heads = {kind: tuple(names) for kind, names in stored["heads"].items()}
    return CheckpointLayout(
        **{**stored, "experts": tuple(stored["experts"]), "heads": heads, "dead": frozenset(stored["dead"])}
    )
