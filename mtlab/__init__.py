"""Experiments and ablations on how a cross-modal encoder draws on the layers of uni-modal experts.

The Python API is `Study`, `build`, `load`, `frame`, `layers` and `open_study`, and what they return: see docs/api.md.
Each is imported when it is first used, so that `import mtlab` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtlab.inference.api import build, load
    from mtlab.inference.encoding import Encoded, Model
    from mtlab.report.frame import frame
    from mtlab.report.layer_table import layers
    from mtlab.report.study import StudyResults, open_study
    from mtlab.workflow.study import Study

__all__ = ["Encoded", "Model", "Study", "StudyResults", "build", "frame", "layers", "load", "open_study"]

_MODULES = {
    "Encoded": "mtlab.inference.encoding",
    "Model": "mtlab.inference.encoding",
    "Study": "mtlab.workflow.study",
    "StudyResults": "mtlab.report.study",
    "build": "mtlab.inference.api",
    "frame": "mtlab.report.frame",
    "layers": "mtlab.report.layer_table",
    "load": "mtlab.inference.api",
    "open_study": "mtlab.report.study",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'mtlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
