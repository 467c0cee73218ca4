"""Saving and loading: the transformers model by its own `save_pretrained`, and the managers in two files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from mtlab import files
from mtlab.config.check import check_config, to_plain
from mtlab.errors import UserError, one_line, place_errors
from mtlab.model.mllm.managed import Injection, ManagedModel
from mtlab.towers.loading.weights import read_tensors

OPTIONS = "managers.json"  #: manager node and injection
WEIGHTS = "managers.safetensors"  #: managers and level embeddings


def save(managed: ManagedModel, folder: Path) -> None:
    """Write the model as `save_pretrained` does, `managers.json` and `managers.safetensors`.

    What is written first is the model alone, which any transformers program reads.
    """
    managed.model.save_pretrained(folder)
    with files.atomic_write(folder / WEIGHTS) as path:
        save_file(own_tensors(managed), path)
    files.write_json(folder / OPTIONS, {"manager": managed.node, "injection": to_plain(managed.injection)})


def load(folder: Path, model: Any = None) -> ManagedModel:
    """Read what `save` has written.

    Args:
        folder: of the model and its managers.
        model: the transformers model, if it is loaded already.

    Raises:
        UserError: files are missing or damaged, or do not fit the model.

    """
    from transformers import AutoModelForImageTextToText  # here: its import takes a second

    if not (folder / OPTIONS).is_file():
        raise UserError(f"holds no {OPTIONS}: expected a folder that mtlab has saved", file=folder)
    stored = files.read_json(folder / OPTIONS)
    if not isinstance(stored, dict) or set(stored) != {"manager", "injection"}:
        raise UserError("expected the keys manager and injection", file=folder / OPTIONS)
    tensors = read_tensors(folder / WEIGHTS)
    if model is None:
        model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=False)
    with place_errors(file=folder / OPTIONS):
        managed = ManagedModel(model, stored["manager"], check_config(Injection, stored["injection"]))
    try:
        missing, unexpected = managed.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise UserError(one_line(error, 160), file=folder / WEIGHTS) from None
    missing = [name for name in missing if not name.startswith("model.")]
    if missing or unexpected:
        raise UserError(
            f"other tensors than the managers have: {', '.join([*missing, *unexpected][:4])}", file=folder / WEIGHTS
        )
    return managed


def own_tensors(managed: ManagedModel) -> dict[str, Tensor]:
    """Return the tensors that are not the transformers model's: of managers and level embeddings."""
    state = managed.state_dict()
    return {name: tensor.contiguous() for name, tensor in state.items() if not name.startswith("model.")}
