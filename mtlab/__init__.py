"""Experiments and ablations on how a cross-modal encoder draws on the layers of uni-modal experts.

The Python API is `build`, `load` and `frame`, and what they return: see docs/api.md. It is imported when it is first
used, so that `import mtlab` waits for nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtlab.api import Encoded, Model, build, frame, load

__all__ = ["Encoded", "Model", "build", "frame", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("mtlab.api"), name)
    raise AttributeError(f"module 'mtlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
