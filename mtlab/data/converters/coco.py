"""COCO captions, Karpathy's split."""

from __future__ import annotations

import re

from mtlab.data.converters.base import BadRowError, register_converter
from mtlab.data.converters.karpathy import KarpathyConverter


@register_converter("coco")
class CocoConverter(KarpathyConverter):
    """COCO captions, Karpathy's split. Parts train, restval, val, test; published models train on train + restval."""

    dataset = "coco"
    all_parts = ("train", "restval", "val", "test")
    layout = "karpathy/dataset_coco.json, train2014/, val2014/"

    def folder(self, name: str) -> str:
        """Tell `train2014` or `val2014`."""
        match = re.fullmatch(r"COCO_((?:train|val)2014)_\d+\.jpg", name)
        if match is None:
            raise BadRowError(f"filename: {name!r} is not COCO_{{train,val}}2014_NUMBER.jpg")
        return match[1]
