"""Models from the Hugging Face hub: the local cache, and downloads that do not hang without a network."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from mtlab import files
from mtlab.errors import UserError, first_line
from mtlab.time_limit import call_within

TIMEOUT_SECONDS = 20.0  #: after which the hub counts as unreachable
REACHED_SECONDS = 3.0  #: in which it answers, where no more than that is asked
WEIGHT_SUFFIXES = (".safetensors", ".bin")
TEXT_FILES = ("*.json", "*.txt", "*.model", "*.jinja")  #: configuration and tokeniser


def find_cached(repository: str) -> Path | None:
    """Return the folder of a model in the hub's local cache, or None, without using the network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except HFValidationError:
        raise UserError(f"{repository!r} is neither a folder nor a hub name (owner/model)", key="model") from None
    except LocalEntryNotFoundError:
        return None


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a model folder: safetensors where there are any, else PyTorch's."""
    for suffix in WEIGHT_SUFFIXES:
        found = sorted(path for path in folder.glob(f"*{suffix}") if path.is_file())
        if found:
            return found
    return []


def has_all_weights(folder: Path) -> bool:
    """Return whether a model folder holds weights, and all files of them that its index names.

    A download that was broken off leaves some of them.
    """
    found = {path.name for path in weight_files(folder)}
    kinds = {Path(name).suffix for name in found}
    named = {
        str(name)
        for index in folder.glob("*.index.json")
        for name in (files.read_json(index).get("weight_map") or {}).values()
    }
    return bool(found) and all(name in found for name in named if Path(name).suffix in kinds)


def download(repository: str, *, weights: bool) -> Path:
    """Download a model, or only its configuration and tokeniser; return its folder.

    Raises:
        UserError: there is no such model, or the hub cannot be reached within `TIMEOUT_SECONDS`.

    """
    names = _list_files(repository)
    patterns = list(TEXT_FILES)
    if weights:
        suffix = next(
            (suffix for suffix in WEIGHT_SUFFIXES if any(_is_top_level(name, suffix) for name in names)), None
        )
        if suffix is None:
            raise UserError(f"{repository!r} on the hub holds no weights ({' or '.join(WEIGHT_SUFFIXES)})", key="model")
        patterns += [name for name in names if _is_top_level(name, suffix)]
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=patterns))
    except Exception as error:  # its HTTP library is not part of its interface
        raise _unreachable(repository, error) from error


def is_reachable() -> bool:
    """Return whether the hub answers, through a proxy where one is set, within `REACHED_SECONDS`."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False

    def ask() -> bool:
        try:
            with urllib.request.urlopen(constants.ENDPOINT, timeout=REACHED_SECONDS):
                return True
        except urllib.error.HTTPError:
            return True  # it refuses: it is there

    try:
        return call_within(REACHED_SECONDS, ask)  # a name server may take longer than any socket's timeout
    except (OSError, ValueError, HTTPException):  # the last: an address that is none, or an answer that is not HTTP's
        return False


def _is_top_level(name: str, suffix: str) -> bool:
    return name.endswith(suffix) and "/" not in name


def _list_files(repository: str) -> Sequence[str]:
    """List a model's files on the hub."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = call_within(TIMEOUT_SECONDS, lambda: HfApi().model_info(repository, timeout=TIMEOUT_SECONDS / 2))
    except RepositoryNotFoundError as error:
        raise UserError(f"no model {repository!r} on the hub that you may read", key="model") from error
    except Exception as error:  # its HTTP library is not part of its interface
        raise _unreachable(repository, error) from error
    return [file.rfilename for file in info.siblings or ()]


def _unreachable(repository: str, error: Exception) -> UserError:
    return UserError(
        f"{repository!r} is not in the hub's cache on this disk and the hub cannot be reached ({first_line(error)}):"
        " give a local folder or file, or download it first",
        key="model",
    )
