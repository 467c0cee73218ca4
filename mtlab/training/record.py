"""Which layers the managers use: weights and contributions, averaged over validation examples and their real tokens.

Shapes: B examples, N experts, P previous states, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlab.data.batches import Batch, Loader
from mtlab.managers.base import Aggregated, Modality
from mtlab.training.checkpoints import save

EXAMPLES = 512  #: enough for a mean over tokens to stand still
Recorded = Mapping[tuple[Modality, int], Aggregated]
Masks = Mapping[Modality, Tensor | None]  #: True at real tokens, [B, L]; None: all are real


def layers(
    recorded: Callable[[Batch], tuple[Recorded, Masks]],
    loader: Loader,
    batch: int,
    device: torch.device,
    between: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Average what the managers record over (at most 512 evenly spread) examples and all their real tokens.

    Returns:
        `weights/MODALITY/DEPTH` and, where a manager's output is a sum, `contributions/MODALITY/DEPTH`, each [N + P]
        with the previous states last. Depths are counted from 0.

    """
    rows = range(0, len(loader), -(-len(loader) // EXAMPLES))
    sums: dict[str, Tensor] = {}
    tokens: dict[str, Tensor] = {}
    with torch.inference_mode():
        for chosen in loader.once(batch, rows):
            between()
            managers, masks = recorded(chosen.to(device))
            for (modality, depth), aggregated in managers.items():
                real = _real(masks[modality], aggregated.hidden)
                for kind, values in (("weights", aggregated.weights), ("contributions", aggregated.contributions)):
                    if values is not None:
                        name = f"{kind}/{modality}/{depth}"
                        flat = values if values.ndim == 3 else values.double().mean(-1)
                        total = (flat.double() * real[:, None]).sum((0, 2)).cpu()
                        sums[name] = sums.get(name, torch.zeros(())) + total
                        tokens[name] = tokens.get(name, torch.zeros(())) + real.sum().cpu()
    return {name: (total / tokens[name]).float() for name, total in sums.items()}


def write(path: Path, averaged: Mapping[str, Tensor], levels: Mapping[Modality, tuple[int, ...]]) -> None:
    """Write what `layers` gave, with the row labels: the offered levels (1-based), then the previous states.

    Raises:
        UserError: the disk is full, or the folder may not be written.

    """
    labels: dict[str, list[str]] = {}
    for name, values in averaged.items():
        modality: Any = name.split("/")[1]
        experts = [f"level {level}" for level in levels[modality]]
        previous = len(values) - len(experts)
        labels[name] = experts + [f"previous {number}" for number in range(1, previous + 1)]
    save(
        path, averaged, {"levels": {modality: list(offered) for modality, offered in levels.items()}, "labels": labels}
    )


def _real(mask: Tensor | None, hidden: Tensor) -> Tensor:
    """Give 1 at real tokens, [B, L]."""
    ones = torch.ones(hidden.shape[:2], dtype=torch.float64, device=hidden.device)
    return ones if mask is None else mask.double()
