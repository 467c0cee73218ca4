"""Weights from files and from installed packages: tensors only, never code."""

from __future__ import annotations

import importlib.util
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlab.errors import UserError, first_line, missing_extra

WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_state_dict")  #: keys under which trainers store tensors

CHECKPOINT = "a readable PyTorch checkpoint (damaged, cut off, or another format)"
#: What PyTorch raises for damaged files.
_ERRORS = (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError, AssertionError)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a safetensors file or a PyTorch checkpoint.

    Raises:
        UserError: the file is missing, unreadable, holds code (a pickle of more than tensors), or no named tensors.

    """
    if not path.is_file():
        raise UserError("no such weights file" if not path.exists() else "is a folder, not a weights file", file=path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    data = unpickle(path)
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


def unpickle(path: Path, stand_ins: Sequence[tuple[type, str]] = ()) -> Any:
    """Read what a PyTorch file holds, memory-mapped if possible: tensors and plain data only.

    Args:
        path: of the file.
        stand_ins: classes that take the place of those that the file may name.

    Raises:
        UserError: the file is damaged, or holds code or other things.

    """
    mapped = {"mmap": True} if zipfile.is_zipfile(path) else {}
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(stand_ins)):
            warnings.simplefilter("ignore")  # about pickles of another protocol: they are read or refused below
            return torch.load(path, map_location="cpu", weights_only=True, **mapped)
    except pickle.UnpicklingError as error:
        name = re.search(r"(?i)unsupported (?:global: GLOBAL|GLOBAL|class) ([\w.]+)", str(error))
        # A pickle that cannot be read is one of other things than tensors, or written by another library.
        if name is not None or is_pickle(path):
            what = "code or other things than tensors" if name is None else f"code ({name[1]})"
            problem = f"holds {what} and is refused: save the state_dict alone, or as safetensors"
        else:
            problem = f"is not {CHECKPOINT}"
        raise UserError(problem, file=path) from None
    except _ERRORS as error:
        first = first_line(error, 120)
        words = f": {first}" if " " in first else ""  # of some errors a number, or nothing
        raise UserError(f"is not {CHECKPOINT}{words}", file=path) from None
