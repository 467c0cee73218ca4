"""A data set, a vision tower and a task in one file, each a class with a decorator: `mtlab run traffic_lights.yaml`.

Towers, tasks and data sets are plugged in as managers are. Shapes: B examples, L tokens, D width, A answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.config.options import option
from mtlab.data.base import SPLITS, Dataset, Example, Split, register_dataset
from mtlab.tasks.base import register_task
from mtlab.tasks.classification import Classification
from mtlab.towers.base import Features, Tower, TowerInfo, TowerOptions, register_vision_tower

LAMPS = ("red", "amber", "green")  #: from top to bottom; the lit one is white
SIDE = 24  #: pixels


@register_dataset("traffic_lights")
class TrafficLights(Dataset):
    """A traffic light with one lamp lit; which one is it, or is it a certain one? Only its place tells."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        train: int = option(600, "training examples", minimum=1)
        val: int = option(120, "validation examples", minimum=1)
        test: int = option(120, "test examples", minimum=1)

    @classmethod
    def sizes(cls, config: Config) -> Mapping[Split, int]:
        """Return the number of examples of each split."""
        return {split: getattr(config, split) for split in SPLITS}

    @property
    def answers(self) -> Sequence[str]:
        """Lamps, then yes and no."""
        return (*LAMPS, "yes", "no")

    def examples(self, split: Split) -> Sequence[Example]:
        """Return all examples of a split, the same ones each time."""
        draw = np.random.default_rng(SPLITS.index(split))
        return [self._example(split, number, draw) for number in range(self.sizes(self.config)[split])]

    def image(self, key: str) -> NDArray[np.uint8]:
        """Draw a light, [H, W, 3]; its key is `LAMP/NUMBER`."""
        lamp, number = map(int, key.split("/"))
        pixels = np.random.default_rng(number).integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
        pixels[lamp * 8 : lamp * 8 + 8, 8:16] = 255
        return pixels

    def _example(self, split: Split, number: int, draw: np.random.Generator) -> Example:
        lit, asked, which = (int(each) for each in draw.integers(0, (3, 3, 2)))
        text, answer = ("Which lamp is lit?", lit) if which else (f"Is {LAMPS[asked]} lit?", 3 if asked == lit else 4)
        image = f"{lit}/{SPLITS.index(split) * 10**6 + number}"
        return Example(f"{split}/{number}", text, image, answer, "which" if which else "yes or no")


@register_vision_tower("pyramid")
class Pyramid(Tower[NDArray[np.uint8]]):
    """Mean colours on ever coarser grids: level 1 has 8 × 8 cells, level 4 has one. Every level has 64 tokens."""

    @dataclass(frozen=True, kw_only=True)
    class Config(TowerOptions):
        """Options that every tower has."""

    @classmethod
    def describe(cls, config: Config) -> TowerInfo:  # noqa: ARG003 - the options change nothing of it
        """Return what is known without weights."""
        return TowerInfo(depth=4, widths=(3,) * 4, tokens=64, class_token=False, positions=False)

    @classmethod
    def digest(cls, config: Config) -> str:  # noqa: ARG003 - it has no weights
        """Return the identity of the weights: there are none."""
        return "none"

    def prepare(self, raw: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, ...]:
        """Stack images to [B, 3, H, W], from −1 to 1."""
        return (torch.from_numpy(np.stack(raw)).permute(0, 3, 1, 2) / 127.5 - 1,)

    def dummy_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Return blank images."""
        return (torch.zeros(batch, 3, SIDE, SIDE),)

    def forward(self, *inputs: Tensor) -> Features:
        """Average, and repeat each cell to 64 tokens: the offered levels, each [B, 64, 3]."""
        grids = [F.adaptive_avg_pool2d(inputs[0], 8 // 2 ** (level - 1)) for level in self.levels]
        return Features(tuple(F.interpolate(grid, 8).flatten(2).transpose(1, 2) for grid in grids))


@register_task("smoothed_answers")
class SmoothedAnswers(Classification):
    """Choose an answer by one linear layer, trained with smoothed labels; `Classification` gives accuracy."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        smoothing: float = option(0.1, "share of the target that is spread over all answers", minimum=0.0, maximum=1.0)

    def __init__(self, config: Config, width: int, answers: int) -> None:
        super().__init__(config, width, answers)
        self.head = nn.Linear(2 * width, answers)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy with smoothed targets, in nats."""
        return F.cross_entropy(logits, targets, label_smoothing=self.config.smoothing)
