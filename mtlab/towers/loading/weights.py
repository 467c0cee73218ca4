"""Weights from files and from installed packages: tensors only, never code."""

from __future__ import annotations

import importlib.util
import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlab.errors import UserError, missing_extra

WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_state_dict")  #: keys under which trainers store tensors

SIGNS_OF_CODE = ("Unsupported global", "Unsupported class", "GLOBAL")  #: in PyTorch's refusal to unpickle


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a safetensors file or a PyTorch checkpoint.

    Raises:
        UserError: the file is missing, unreadable, holds code (a pickle of more than tensors), or no named tensors.

    """
    if not path.is_file():
        raise UserError("no such weights file" if not path.exists() else "is a folder, not a weights file", file=path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    data = _read_pickled(path)
    for wrapper in WRAPPERS:
        if isinstance(data, Mapping) and isinstance(data.get(wrapper), Mapping):
            data = data[wrapper]
    tensors = {key: value for key, value in data.items() if isinstance(value, Tensor)} if _is_mapping(data) else {}
    if not tensors:
        raise UserError("holds no named tensors (expected a state_dict)", file=path)
    return {key.removeprefix("module."): value for key, value in tensors.items()}


def package_folder(module: str, distribution: str) -> Path:
    """Return the folder of an installed package, without importing it.

    Raises:
        UserError: it is not installed; says how to install it.

    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise missing_extra(distribution, "offline", key="name")
    return Path(next(iter(spec.submodule_search_locations)))


@contextmanager
def seeded_init(seed: int) -> Iterator[None]:
    """Initialise weights from a seed, without changing torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def is_pickle(path: Path) -> bool:
    """Return True if a file is a pickle, by its first byte, which no other format of weights has."""
    with path.open("rb") as stream:
        return stream.read(1) == pickle.PROTO


def _is_mapping(data: Any) -> bool:
    return isinstance(data, Mapping)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"is not a readable safetensors file: {error}", file=path) from None


def _read_pickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of another protocol: they are read or refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # A pickle that cannot be read is one of other things than tensors, or written by another library.
        if is_pickle(path) or any(sign in str(error) for sign in SIGNS_OF_CODE):
            problem = "holds code or other things than tensors, and is refused: save the state_dict, or as safetensors"
        else:
            problem = "is not a readable PyTorch checkpoint (damaged, or another format)"
        raise UserError(problem, file=path) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = str(error).partition("\n")[0]
        raise UserError(f"is not a readable PyTorch checkpoint: {first}", file=path) from None
