"""Any timm model as a vision tower.

Shapes: B examples, S side of the input, G side of the token grid, P prefix tokens, C channels of a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mtlab.config.options import MAX_GRID, MAX_IMAGE_SIZE, MAX_SEED, option
from mtlab.disk_cache import file_digest
from mtlab.errors import UserError, place_errors
from mtlab.towers.base import Features, TokenGrid, Tower, TowerInfo, TowerOptions, register_vision_tower
from mtlab.towers.images import ImagePreprocessing, pool_to_grid
from mtlab.towers.loading import timm_models
from mtlab.towers.loading.descriptions import load_or_describe
from mtlab.towers.loading.licences import LOCAL_FILE, WeightsOrigin
from mtlab.towers.loading.weights import read_tensors, seeded_init


class TimmBased(Tower[NDArray[np.uint8]]):
    """A tower on a timm network: its levels are pooled to one grid and normalised."""

    network: Any  #: the timm model
    own_norm: bool  #: apply the model's last norm to every level
    standardise = True  #: each token over its channels, without `own_norm`

    @classmethod
    def grid(cls, config: Any) -> TokenGrid:
        """Return a square grid behind a class token and registers."""
        info = cls.describe(config)
        prefix = info.class_token + info.registers
        side = isqrt(info.tokens - prefix)
        return TokenGrid(side, side, prefix=prefix)

    def preprocessing(self) -> ImagePreprocessing:
        """Resize to a square and normalise as in pre-training."""
        pretrained = self.network.pretrained_cfg
        mode = "bilinear" if pretrained["interpolation"] == "bilinear" else "bicubic"
        return ImagePreprocessing(self.config.image_size, tuple(pretrained["mean"]), tuple(pretrained["std"]), mode)

    def prepare(self, raw: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, ...]:
        """Images → pixels [B, 3, S, S], normalised as in the model's pre-training."""
        return (self.preprocessing().batch(raw),)

    def dummy_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Return blank images."""
        return (torch.zeros(batch, 3, self.config.image_size, self.config.image_size),)

    def forward(self, *inputs: Tensor) -> Features:
        """Pixels [B, 3, S, S] → offered levels, each [B, P + G², C]."""
        # Convolutions on the CPU are up to twice as fast when the channels of a pixel lie side by side.
        images = inputs[0].contiguous(memory_format=torch.channels_last)
        levels = timm_models.run_levels(self.network, images, [level - 1 for level in self.levels], norm=self.own_norm)
        return Features(tuple(self._tokens(level) for level in levels))

    def enable_gradient_checkpointing(self) -> None:
        """Enable it in timm."""
        try:
            self.network.set_grad_checkpointing()
        except (AttributeError, AssertionError, NotImplementedError):
            raise UserError(f"timm has no gradient checkpointing for {type(self.network).__name__}") from None

    def _tokens(self, level: timm_models.LevelOutput) -> Tensor:
        prefix = 0 if level.prefix is None else level.prefix.shape[1]
        side = isqrt(self.info.tokens - prefix)
        tokens = pool_to_grid(level.grid, (side, side))
        if level.prefix is not None:
            tokens = torch.cat([level.prefix, tokens], 1)
        return F.layer_norm(tokens, tokens.shape[-1:]) if self.standardise and not self.own_norm else tokens


@register_vision_tower("timm")
class TimmTower(TimmBased):
    """Any timm image model: its blocks (ViT) or stages (CNN, Swin, …) are the levels.

    Levels of different grids are average-pooled to one. A class token and registers stay in front of the grid.
    """

    location_options: ClassVar[frozenset[str]] = frozenset({"weights"})

    @dataclass(frozen=True, kw_only=True)
    class Config(TowerOptions):
        model: str = option("vit_base_patch16_224", "timm's name of the model, with or without a tag")
        weights: str = option("pretrained", "pretrained (timm's own, from the hub), random, or a file of weights")
        seed: int = option(0, "seed of random weights", minimum=0, maximum=MAX_SEED)
        image_size: int = option(
            224, "side of the square that images are resized to, pixels", minimum=8, maximum=MAX_IMAGE_SIZE
        )
        grid: int | None = option(
            None, "side of the token grid; null: that of the coarsest level", minimum=1, maximum=MAX_GRID
        )
        blocks: int | None = option(
            None,
            "keep so many blocks, the lowest, and drop the rest; null: all (the original METER keeps 11 of 12)",
            minimum=1,
        )
        norm: Literal["auto", "own", "layer", "none"] = option(
            "auto",
            "own: the model's last norm on every level; layer: zero mean, unit variance over channels; none: levels as "
            "they are, as in LLaVA; auto: own where all levels are alike (ViT), else layer",
        )
        antialias: bool = option(
            True,
            "smooth positions as they are resized from weights of another image size, as timm does (published: false)",
        )

        path_options = ("weights",)

    def __init__(self, config: Config, *, weights: bool = True) -> None:
        super().__init__(config, weights=weights)
        with seeded_init(config.seed):
            self.network = timm_models.create(config.model, config.image_size, config.blocks)
        if not config.antialias and not timm_models.can_disable_antialias(self.network):
            raise UserError(f"timm has no other way to resize positions of {config.model!r}", key="antialias")
        if weights and config.weights != "random":
            _load(self.network, config)
        alike = timm_models.has_own_norm(self.network, self.info.widths)
        top_alone = self.levels == (self.info.depth,) and timm_models.has_own_norm(self.network, self.info.widths[-1:])
        if config.norm == "own" and not (alike or top_alone):
            raise UserError(f"{config.model!r} has no last norm that fits every level: write layer or none", key="norm")
        self.own_norm = config.norm == "own" or (config.norm == "auto" and alike)
        self.standardise = config.norm != "none"

    @classmethod
    def describe(cls, config: Config) -> TowerInfo:
        """Describe depth, widths and tokens, from a run on the meta device."""
        key = {"model": config.model, "image_size": config.image_size, "grid": config.grid}
        key |= {} if config.blocks is None else {"blocks": config.blocks}
        return load_or_describe("timm", key, ["timm"], lambda: _describe(config))

    @classmethod
    def digest(cls, config: Config) -> str | None:
        """Hash the weights file; None while timm's own weights are not on this disk."""
        if config.weights == "random":
            return "random"
        if config.weights == "pretrained":
            file = timm_models.hub_file(config.model)
            return None if file is None else file_digest(file)
        with place_errors(key="weights"):
            return file_digest(_weights_file(config))

    @classmethod
    def origin(cls, config: Config) -> WeightsOrigin | None:
        """Return timm's weights with the licence that timm gives for them, or the user's file."""
        if config.weights == "random":
            return None
        return timm_models.origin(config.model) if config.weights == "pretrained" else LOCAL_FILE

    @classmethod
    def fetch(cls, config: Config) -> None:
        """Download timm's own weights, unless they are on this disk."""
        if config.weights == "pretrained":
            timm_models.download(config.model)


def _weights_file(config: TimmTower.Config) -> Path:
    return timm_models.download(config.model) if config.weights == "pretrained" else Path(config.weights).expanduser()


def _load(network: Any, config: TimmTower.Config) -> None:
    file = _weights_file(config)
    with place_errors(key="weights"):
        timm_models.load(network, read_tensors(file), file, antialias=config.antialias)


def _describe(config: TimmTower.Config) -> TowerInfo:
    levels = timm_models.level_shapes(config.model, config.image_size, config.blocks)
    prefix = 0 if levels[0].prefix is None else levels[0].prefix.shape[1]
    side = config.grid or min(min(level.grid.shape[-2:]) for level in levels)
    with torch.device("meta"):
        network = timm_models.create(config.model, config.image_size, config.blocks)
    patch = timm_models.cutting_patch(network, config.image_size)
    if patch is not None:
        below = config.image_size // patch * patch
        advice = f"{below} and {below + patch} would do" if below else f"{patch} would do"
        raise UserError(
            f"patches of {patch} pixels do not fill {config.image_size}, the rest would be cut off; {advice}",
            key="image_size",
        )
    # registers do not count: only a model's class token, which comes first, summarises the image
    class_token = prefix > 0 and getattr(network, "cls_token", None) is not None
    return TowerInfo(
        depth=len(levels),
        widths=tuple(level.grid.shape[1] for level in levels),
        tokens=prefix + side**2,
        class_token=class_token,
        positions=getattr(network, "pos_embed", None) is not None,
        registers=prefix - class_token,
    )
