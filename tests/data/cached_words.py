"""A data set of numbered sentences, and the settings with which the tests of the expert cache extract its levels."""

from dataclasses import dataclass

import numpy as np
import pytest

from mtlab.config.options import option
from mtlab.config.schema import CacheConfig
from mtlab.data.base import SPLITS, Dataset, Example, register_dataset
from mtlab.data.cache.size_limit import LIMIT_VARIABLE

TEXT = {"name": "tiny_text", "layers": "top2", "depth": 3, "width": 16}
VISION = {"name": "tiny_vision", "layers": [1, -1], "depth": 3, "width": 16}
DATA = {"name": "words", "items": 300}
PLANTED = {"name": "planted", "train": 200, "val": 50, "test": 50}
FLOAT32 = CacheConfig(dtype="float32")


@register_dataset("words")
class Words(Dataset):
    """Numbered sentences of different length, about images of one colour each."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        items: int = option(300, "examples of each split", minimum=1)

    @property
    def answers(self):
        return ["yes", "no"]

    def examples(self, split):
        start = SPLITS.index(split) * self.config.items // 2  # splits share half of their texts and images
        return [
            Example(f"{split}/{n}", self.text(n), str(n), n % 2, "any") for n in range(start, start + self.config.items)
        ]

    def text(self, number):
        return " ".join(f"word{number * step % 97}" for step in range(1, 2 + number % 7)) + f" {number}"

    def image(self, key):
        return np.full((20, 30, 3), int(key) % 251, np.uint8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MTLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)


def words():
    return Words(Words.Config())


def texts():
    return sorted({example.text for split in SPLITS for example in words().examples(split)})


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())
