"""Where a run's inputs come from: the expert cache for frozen towers, raw data for those that run in every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mtlab import files
from mtlab.config.check import checked
from mtlab.config.schema import CacheConfig
from mtlab.data.base import Dataset
from mtlab.data.batches import RawImages, RawTexts, Source
from mtlab.data.cache import expert_cache
from mtlab.towers import TowerKind
from mtlab.towers.base import Tower


def source_of(
    kind: TowerKind,
    config: Mapping[str, Any],
    dataset: Dataset,
    tower: Tower[Any] | None,
    *,
    progress: Callable[[int, int], None],
    device: str,
) -> Source:
    """Make the source of one modality; a cache that is not there is filled, unless another worker does so.

    Args:
        kind: "text" or "vision".
        config: the run's resolved configuration.
        dataset: holds the images.
        tower: reads raw data in every step; None: its levels come from the expert cache.
        progress: is told how many texts or images are cached, of how many.
        device: where a tower runs whose cache is filled.

    Raises:
        UserError: weights or data cannot be read.

    """
    if tower is not None:
        return RawTexts(tower) if kind == "text" else RawImages(tower, dataset)
    return expert_cache(
        kind,
        config[kind],
        config["data"],
        checked(CacheConfig, config["cache"]),
        root=files.cache_root(),
        progress=progress,
        device=device,
    )
