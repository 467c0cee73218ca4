"""The data set of a run, where it can be opened without torch and without a plug-in's code."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mtlab.config.check import check_config
from mtlab.config.nodes import own_options
from mtlab.data.base import DATASETS, SPLITS, Dataset
from mtlab.data.shards.dataset import absolute
from mtlab.errors import UserError
from mtlab.files import json_text
from mtlab.recording.reader import Missing

ImageArray = npt.NDArray[np.uint8]  #: [H, W, 3] RGB


AGAIN_AFTER = 60.0  #: seconds in which shards that could not be reached at an address are not asked for again
OTHER_DATA = "the data have changed since this run: its answers and examples would get the names of others"


def describe_data(config: Mapping[str, Any] | None) -> str:
    """Return as JSON what `open_dataset` reads of a run's `config.json`: of runs on the same data, the same."""
    content = config or {}
    identity = content.get("identity") or {}
    versions = {key: value for key, value in identity.get("versions", {}).items() if key.startswith("data:")}
    digests = {"data": (identity.get("digests") or {}).get("data")}
    node = (content.get("config") or {}).get("data")
    return json_text({"config": {"data": node}, "identity": {"versions": versions, "digests": digests}})


_unreachable: dict[str, tuple[float, Missing]] = {}  #: data at an address, as `describe_data` → when they failed, why


def open_dataset(config: Mapping[str, Any] | None) -> Dataset | Missing:
    """Open the data set of a run, if it still is what the run was trained on.

    Args:
        config: content of its `config.json`, see `Store.config`.

    """
    described = describe_data(config)
    failed, why = _unreachable.get(described, (0.0, None))
    if why is not None and time.monotonic() - failed < AGAIN_AFTER:
        return why
    found = _open_dataset(config)
    if isinstance(found, Missing) and "://" in described:  # each attempt waits for seconds
        _unreachable[described] = time.monotonic(), found
    return found


def _open_dataset(config: Mapping[str, Any] | None) -> Dataset | Missing:
    node = ((config or {}).get("config") or {}).get("data")
    name = node.get("name") if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not isinstance(name, str):
        return Missing("the run's configuration names no data set")
    entry = DATASETS.builtin(name)
    if entry is None:
        return Missing(
            f"the data set {name!r} is not opened here: it is a plug-in's, whose code is not run, or needs torch"
        )
    folder = node.get("folder")  # an address, or stored absolute, but for archives
    relative = isinstance(folder, str) and absolute(folder) != folder
    if relative and "folder" in entry.cls.location_options:
        return Missing(f"the data set {name!r} is in a folder that is not part of this archive")
    # As `check_unchanged`, which looks all classes up, tasks among them, and so imports torch.
    identity = (config or {}).get("identity") or {}
    trained = (identity.get("digests") or {}).get("data")
    try:
        options = check_config(entry.config, own_options(node))
        if trained is not None and entry.cls.digest(options) != trained:
            return Missing(OTHER_DATA)
        if (identity.get("versions") or {}).get(f"data:{name}", entry.version) != entry.version:
            return Missing(f"the data set {name!r} is of another version here than the run was trained with")
        return entry.cls(options)
    except UserError as error:
        return Missing(f"the data set {name!r} cannot be opened: {error}")
    except Exception as error:  # it reads files outside the store, which may have changed
        return Missing(f"the data set {name!r} cannot be opened: {type(error).__name__}: {error}")


def load_image(data: Dataset | Missing, key: str) -> ImageArray | Missing:
    """Read or draw the image of an example."""
    if isinstance(data, Missing):
        return data
    try:
        image = np.asarray(data.image(key), dtype=np.uint8)
    except NotImplementedError:
        return Missing("this data set has no images")
    except KeyError:
        return Missing(f"the data set has no image {key!r} (any more)")
    except UserError as error:
        return Missing(f"the image cannot be read: {error}")
    except Exception as error:  # as above
        return Missing(f"the image cannot be read: {type(error).__name__}: {error}")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        return Missing(f"the image has an unexpected shape: {image.shape}")
    return image


def answer_names(data: Dataset | Missing) -> tuple[str, ...]:
    """Return the answers by index; none where they are not known."""
    if isinstance(data, Missing):
        return ()
    try:
        return tuple(map(str, data.answers))
    except Exception:  # figures say "answer 3" instead
        return ()


def example_texts(data: Dataset | Missing, split: str) -> dict[str, tuple[str, str]]:
    """Return text and image key of each example of a split by its id; none where they cannot be read."""
    known: Any = split
    if isinstance(data, Missing) or split not in SPLITS:
        return {}
    try:
        return {example.id: (example.text, example.image) for example in data.examples(known)}
    except Exception:  # lists of examples go without
        return {}
