"""Learned positions of a ViT, brought to another image size as the published code does.

Shapes: G side of the token grid, D width.
"""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional as F


def resize_positions(positions: Tensor, tokens: int) -> Tensor:
    """Interpolate the positions of a square grid to another one; the class token's, which comes first, is kept.

    Bicubic, without aligned corners or antialiasing: METER, BridgeTower and ManagerTower do so whenever they load a
    checkpoint. (timm's own default antialiases, and differs.)

    Args:
        positions: [1, 1 + G², D].
        tokens: 1 + G'² wanted.

    Returns:
        [1, 1 + G'², D]; `positions` itself if it is of that size.

    Raises:
        ValueError: one of the two numbers of tokens is no square and one.

    """
    old, new = isqrt(positions.shape[1] - 1), isqrt(tokens - 1)
    if old**2 + 1 != positions.shape[1] or new**2 + 1 != tokens:
        raise ValueError(f"{positions.shape[1]} and {tokens} tokens are not both a class token and a square grid")
    if old == new:
        return positions
    grid = positions[:, 1:].transpose(1, 2).reshape(1, -1, old, old)
    scaled = F.interpolate(grid.float(), (new, new), mode="bicubic", align_corners=False).to(positions.dtype)
    return torch.cat([positions[:, :1], scaled.flatten(2).transpose(1, 2)], 1)
