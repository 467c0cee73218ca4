"""Read PyTorch Lightning's checkpoint files without running code: tensors and plain data only.

Files of Lightning 1.4 and older hold classes of callbacks as keys. Those listed in `ALLOWED` are replaced by inert
classes; everything else that is neither a tensor nor plain data is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mtlab.errors import UserError
from mtlab.interop.architecture import Hyperparameters
from mtlab.towers.loading.weights import read_tensors, unpickle

#: Classes that a file may name; each is replaced by a class that does nothing, and none is imported.
ALLOWED = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor",
    "pytorch_lightning.callbacks.progress.ProgressBar",
    "pytorch_lightning.callbacks.progress.base.ProgressBarBase",
    "pytorch_lightning.callbacks.progress.tqdm_progress.TQDMProgressBar",
    "pytorch_lightning.callbacks.model_summary.ModelSummary",
    "pytorch_lightning.callbacks.gradient_accumulation_scheduler.GradientAccumulationScheduler",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "pytorch_lightning.utilities.enums.LightningEnum",
)


@dataclass(frozen=True)
class LightningFile:
    """Weights and settings of a checkpoint file."""

    tensors: dict[str, Tensor]
    options: Mapping[str, Any]  #: the training script's settings, if Lightning stored them


def read_file(path: Path) -> LightningFile:
    """Read a `.ckpt` file (Lightning's, or a bare state dict) or a safetensors file, memory-mapped if possible.

    Raises:
        UserError: the file is missing, damaged, holds code, or holds no tensors.

    """
    if not path.is_file():
        raise UserError("no such checkpoint" if not path.exists() else "is a folder, not a checkpoint file", file=path)
    if path.suffix == ".safetensors":
        return LightningFile(read_tensors(path), {})
    data = unpickle(path, [(type(name.rpartition(".")[2], (_Inert,), {}), name) for name in ALLOWED])
    state = data.get("state_dict", data) if isinstance(data, Mapping) else None
    named = state if isinstance(state, Mapping) else {}
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise UserError("holds no named tensors (expected a state_dict)", file=path)
    return LightningFile(tensors, _options(data))


def hyperparameters(options: Mapping[str, Any]) -> Hyperparameters:
    """Read settings that shapes do not determine from the published scripts' options; absent ones are as published."""
    found = {
        ours: options[theirs] for theirs, ours in _SETTINGS.items() if isinstance(options.get(theirs), int | float)
    }
    return Hyperparameters(**found)


_SETTINGS = {"num_heads": "heads", "drop_rate": "dropout", "max_text_len": "max_length"}


class _Inert:
    """Replaces a class that a file names, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _options(data: Any) -> Mapping[str, Any]:
    """Find the settings that the published code hands to Lightning: `hyper_parameters: {config: {…}}`."""
    found = data.get("hyper_parameters") if isinstance(data, Mapping) else None
    inner = found.get("config", found) if isinstance(found, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}
