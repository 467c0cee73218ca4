"""CLIP's ViT of any size as a vision tower: the architecture alone, or weights from a file.

Shapes: B images, S side of the input, G side of the token grid, D width.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from mtlab.config.options import MAX_IMAGE_SIZE, MAX_SEED, MAX_SIZE, option
from mtlab.disk_cache import file_digest
from mtlab.errors import UserError, place_errors
from mtlab.towers.base import TowerInfo, TowerOptions, register_vision_tower
from mtlab.towers.images import ImagePreprocessing
from mtlab.towers.loading.positions import resize_positions
from mtlab.towers.loading.weights import read_tensors, seeded_init
from mtlab.towers.vision import TimmBased

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  #: CLIP's, of red, green, blue
RANDOM = "random"


@register_vision_tower("clip_vit")
class ClipViT(TimmBased):
    """A CLIP ViT of any size: the tower of imported METER, BridgeTower and ManagerTower.

    Every level is the output of a block under the last norm, which all share. The same network as timm's
    `vit_*_clip_quickgelu_*`, under the same names of weights, but of any width, depth, number of heads and patch
    size. Source: CLIP (ICML 2021).
    """

    location_options: ClassVar[frozenset[str]] = frozenset({"weights"})

    @dataclass(frozen=True, kw_only=True)
    class Config(TowerOptions):
        width: int = option(768, "width of every level", minimum=1, maximum=MAX_SIZE)
        depth: int = option(12, "blocks, each a level", minimum=1, maximum=256)
        heads: int = option(12, "attention heads; must divide the width (CLIP: width / 64)", minimum=1)
        patch: int = option(16, "side of a patch, pixels", minimum=1)
        image_size: int = option(
            224, "side of the square that images are resized to, pixels", minimum=1, maximum=MAX_IMAGE_SIZE
        )
        weights: str = option(RANDOM, "random, or a file of weights under timm's names (`mtlab import` writes one)")
        seed: int = option(0, "seed of random weights", minimum=0, maximum=MAX_SEED)

        path_options = ("weights",)

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.width % self.heads:
                raise UserError(f"{self.heads} heads do not divide the width {self.width}", key="heads")
            if self.image_size % self.patch:
                raise UserError(f"patches of {self.patch} pixels do not fill {self.image_size}", key="image_size")

    def __init__(self, config: Config, *, weights: bool = True) -> None:
        super().__init__(config, weights=weights)
        self.own_norm = True
        with seeded_init(config.seed):
            self.network = _network(config)
        if weights and config.weights != RANDOM:
            _load(self.network, Path(config.weights).expanduser())

    @classmethod
    def describe(cls, config: Config) -> TowerInfo:
        """Describe depth, widths and tokens."""
        side = config.image_size // config.patch
        return TowerInfo(config.depth, (config.width,) * config.depth, 1 + side**2, class_token=True, positions=True)

    @classmethod
    def digest(cls, config: Config) -> str | None:
        """Hash the weights file."""
        if config.weights == RANDOM:
            return RANDOM
        with place_errors(key="weights"):
            return file_digest(Path(config.weights).expanduser())

    def preprocessing(self) -> ImagePreprocessing:
        """Squares, normalised as in CLIP's pre-training."""
        return ImagePreprocessing(self.config.image_size, MEAN, STD, "bicubic")


def _network(config: ClipViT.Config) -> Any:
    from timm.layers import LayerNorm
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        mlp_ratio=4,
        pre_norm=True,
        norm_layer=partial(LayerNorm, eps=1e-5),
        act_layer="quick_gelu",
        num_classes=0,
    ).eval()


def _load(network: Any, file: Path) -> None:
    """Load weights; positions of another image size are resized.

    Raises:
        UserError: the file cannot be read, or is not of this network; it names the first weights that do not fit.

    """
    with place_errors(key="weights"):
        given = read_tensors(file)
    own = network.state_dict()
    if "pos_embed" in given and given["pos_embed"].ndim == 3:
        with suppress(ValueError):  # no square grid: told below
            given["pos_embed"] = resize_positions(given["pos_embed"], own["pos_embed"].shape[1])
    wrong = [name for name in own if name not in given or given[name].shape != own[name].shape]
    wrong += [name for name in given if name not in own]
    if wrong:
        raise UserError(
            f"does not fit this ViT: {len(wrong)} weights differ ({', '.join(wrong[:3])})", file=file, key="weights"
        )
    network.load_state_dict(given)
