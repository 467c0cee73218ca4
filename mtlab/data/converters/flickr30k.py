"""Flickr30K captions, Karpathy's split."""

from __future__ import annotations

import re

from mtlab.data.converters.base import BadRowError, register_converter
from mtlab.data.converters.karpathy import KarpathyConverter


@register_converter("flickr30k")
class Flickr30KConverter(KarpathyConverter):
    """Flickr30K captions, Karpathy's split. Parts train, val, test.

    The published code trains on train + val and chooses checkpoints on test; here these are a data set's choice.
    """

    dataset = "flickr30k"
    all_parts = ("train", "val", "test")
    layout = "karpathy/dataset_flickr30k.json, flickr30k-images/"

    def folder(self, name: str) -> str:
        """All images are in one folder."""
        if not re.fullmatch(r"\d+\.jpg", name):
            raise BadRowError(f"filename: {name!r} is not NUMBER.jpg")
        return "flickr30k-images"
