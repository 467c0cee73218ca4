"""Published models to read: the committed golden bundles, and those that `MTLAB_GOLDEN` names."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

ROOTS = [Path(__file__).parents[1] / "golden", *map(Path, filter(None, [os.environ.get("MTLAB_GOLDEN")]))]


@cache
def folders() -> dict[str, Path]:
    """Find the bundles with whole state dicts, towers included."""
    found = {}
    for root in ROOTS:
        for file in sorted(root.glob("*/state_dict.safetensors")):
            with safe_open(file, "pt") as opened:
                if any("word_embeddings" in name for name in opened.keys()):  # noqa: SIM118 - no iterator
                    found.setdefault(file.parent.name, file.parent)
    return found


def weights(bundle: str) -> dict[str, Tensor]:
    """Read a bundle's state dict."""
    return load_file(folders()[bundle] / "state_dict.safetensors")


def official() -> list[str]:
    """Name the bundles of the authors' code."""
    return [name for name in folders() if not name.startswith("hf_")]
