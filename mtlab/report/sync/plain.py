"""Figures with plain lists for arrays: plotly packs arrays of numbers into base64, of which W&B shows nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import plotly.graph_objects as go


def with_plain_lists(figure: go.Figure) -> go.Figure:
    """Write a figure's arrays out as lists."""
    import plotly.graph_objects as go

    return go.Figure(_lists(figure.to_dict()))


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.keys() >= {"dtype", "bdata"}:
            return _unpacked(value)
        return {key: _lists(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_lists(held) for held in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _unpacked(packed: Mapping[str, Any]) -> list[Any]:
    values = np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"])
    shape = [int(size) for size in str(packed.get("shape", len(values))).split(",")]
    unpacked: list[Any] = values.reshape(shape).tolist()
    return unpacked
