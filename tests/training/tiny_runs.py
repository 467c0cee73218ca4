"""Tiny runs on the planted world: a step takes a few milliseconds."""

from __future__ import annotations

from typing import Any

from mtlab.config.resolve import resolve

TOWER = {"name": "planted", "depth": 3, "planted": 2, "width": 16, "tokens": 3}
TINY: dict[str, Any] = {
    "manager": {"name": "adaptive", "noise": 1.0},
    "text": {"name": "tiny_text", "depth": 3, "width": 16, "heads": 2, "layers": "all"},
    "vision": TOWER,
    "model": {"width": 16, "heads": 2, "cross_layers": 2, "mlp_ratio": 2, "dropout": 0.1},
    "data": {"name": "planted", "train": 100, "val": 40, "test": 40},
    "cache": {"enabled": False},
    "train": {"length": {"steps": 30}, "batch": 16, "eval_every": 8, "checkpoint_every": 5},
}


def merged(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Merge `extra` into `base`; a node of another name replaces the whole node."""
    both = dict(base)
    for key, value in extra.items():
        old = base.get(key)
        merges = isinstance(old, dict) and isinstance(value, dict) and value.get("name", "") in ("", old.get("name"))
        both[key] = merged(old, value) if merges else value
    return both


def tiny_config(**sections: Any) -> dict[str, Any]:
    """Make a resolved configuration, `TINY` with some sections changed."""
    config = resolve(merged(TINY, sections))
    config["train"]["length"] = {"steps": config["train"]["length"]["steps"], "epochs": None, "flops": None}
    return config
