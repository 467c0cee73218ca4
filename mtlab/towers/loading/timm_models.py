"""Building, loading and running timm networks of any family, level by level.

Shapes: B examples, S side of the input, C channels of a level, h and w its grid, P prefix tokens.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtlab.disk_cache import library_version, load_or_compute
from mtlab.errors import UserError, first_line, nearest, one_line
from mtlab.towers.loading import hub
from mtlab.towers.loading.licences import WeightsOrigin

HUB_FILES = ("model.safetensors", "pytorch_model.bin")  #: how the hub names timm's weights


@dataclass(frozen=True)
class LevelOutput:
    """The output of a network at one level."""

    grid: Tensor  #: [B, C, h, w]
    prefix: Tensor | None  #: class token and registers, [B, P, C]


def create(model: str, image_size: int, blocks: int | None = None) -> Any:
    """Build a timm model without a classifier, for square images.

    Args:
        model: timm's name of it.
        image_size: S.
        blocks: keep so many of its levels, the lowest; None: all.

    Raises:
        UserError: the model is unknown (the error names the nearest), or cannot have that size or number of blocks.

    """
    import timm

    _check_model_name(model)
    pretrained = timm.models.get_pretrained_cfg(model)
    size = {"img_size": image_size} if pretrained and pretrained.fixed_input_size else {}
    try:
        network = timm.create_model(model, pretrained=False, num_classes=0, **size)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        raise _build_error(model, image_size, error) from error
    if not hasattr(network, "forward_intermediates"):
        raise UserError(f"timm's {model!r} gives no levels between input and output", key="model")
    if blocks is not None:
        _prune(network, model, blocks)
    return network.eval()


def _prune(network: Any, model: str, blocks: int) -> None:
    """Take the levels above the lowest `blocks` out of a network."""
    try:
        network.prune_intermediate_layers([blocks - 1])
    except (AttributeError, AssertionError) as error:
        raise UserError(f"timm's {model!r} cannot be cut to {blocks} blocks", key="blocks") from error


def run_levels(network: Any, images: Tensor, indices: Sequence[int] | None, *, norm: bool) -> list[LevelOutput]:
    """Run the network up to the highest level asked for.

    Args:
        network: from `create`.
        images: [B, 3, S, S].
        indices: levels, from 0 at the bottom; None: all.
        norm: apply the model's last norm to the levels, as far as its family does so.

    """
    accepted = inspect.signature(network.forward_intermediates).parameters
    wanted = {
        "norm": norm,
        "stop_early": True,
        "output_fmt": "NCHW",
        "intermediates_only": True,
        # only if there are any: some families fail otherwise
        "return_prefix_tokens": getattr(network, "num_prefix_tokens", 0) > 0,
    }
    found = network.forward_intermediates(
        images,
        indices=None if indices is None else list(indices),
        **{name: value for name, value in wanted.items() if name in accepted},
    )
    return [LevelOutput(*level) if isinstance(level, tuple | list) else LevelOutput(level, None) for level in found]


def level_shapes(model: str, image_size: int, blocks: int | None = None) -> list[LevelOutput]:
    """Run the model on the meta device, for the shape of every level."""
    with torch.device("meta"):
        network = create(model, image_size, blocks)
        try:
            return run_levels(network, torch.zeros(1, 3, image_size, image_size), None, norm=False)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise _build_error(model, image_size, error) from error


def cutting_patch(network: Any, image_size: int) -> int | None:
    """Return the side of the patches if they do not fill the image: its right and lower edge would be cut off.

    None at the size of pre-training, at which some models (SigLIP at 384 pixels) have learned to do without.
    """
    from timm.layers import PatchEmbed

    embed = getattr(network, "patch_embed", None)
    trained_at = network.pretrained_cfg["input_size"][-1]
    if not isinstance(embed, PatchEmbed) or embed.dynamic_img_pad or image_size == trained_at:
        return None
    sides = [int(side) for side in embed.patch_size]
    return next((side for side in sides if image_size % side), None)


def has_own_norm(network: Any, widths: Sequence[int]) -> bool:
    """Return True if the model ends in a norm that fits every level: a ViT does, a pyramid does not."""
    last = getattr(network, "norm", None)
    return len(set(widths)) == 1 and isinstance(last, nn.Module) and not isinstance(last, nn.Identity)


def load(network: Any, tensors: dict[str, Tensor], file: Path, *, antialias: bool = True, strict: bool = False) -> None:
    """Load weights, without those of a classifier.

    Args:
        network: from `create`.
        tensors: what `file` holds.
        file: named if they do not fit.
        antialias: antialias positions when they are resized from another image size, as timm does.
        strict: refuse tensors that the network has no place for; else they are those of a classifier.

    Raises:
        UserError: they are not this model's weights, or its positions cannot be resized otherwise than in timm's way.

    """
    convert = _checkpoint_filter(network)
    options = {} if antialias else {"antialias": False}
    try:
        result = network.load_state_dict(convert(tensors, network, **options) if convert else tensors, strict=False)
    except (RuntimeError, KeyError) as error:
        raise UserError(f"does not fit the model: {one_line(error, 200)}", file=file) from error
    if result.missing_keys:
        some = ", ".join(result.missing_keys[:3])
        raise UserError(f"does not fit the model: {len(result.missing_keys)} tensors are missing ({some})", file=file)
    if strict and result.unexpected_keys:
        some = ", ".join(result.unexpected_keys[:3])
        raise UserError(f"does not fit the model: {len(result.unexpected_keys)} tensors too many ({some})", file=file)


def can_disable_antialias(network: Any) -> bool:
    """Return True if the model's positions can be resized without antialiasing."""
    convert = _checkpoint_filter(network)
    return convert is not None and "antialias" in inspect.signature(convert).parameters


def _checkpoint_filter(network: Any) -> Callable[..., dict[str, Tensor]] | None:
    """Return timm's own conversion of other formats and image sizes for the model's family, if it has one."""
    found: Callable[..., dict[str, Tensor]] | None = getattr(
        sys.modules[type(network).__module__], "checkpoint_filter_fn", None
    )
    return found


def origin(model: str) -> WeightsOrigin:
    """Return the origin of timm's own weights; the licence is the one that timm gives."""
    import timm

    known = timm.models.get_pretrained_cfg(model)
    licence = known.license if known is not None and known.license != "unknown" else None
    page = _hub_name(model)
    return WeightsOrigin(f"timm's weights, [{page}](https://huggingface.co/{page})", licence)


def hub_file(model: str) -> Path | None:
    """Return the file of timm's own weights if it is on this disk."""
    folder = hub.find_cached(_hub_name(model))
    return None if folder is None else next((folder / name for name in HUB_FILES if (folder / name).exists()), None)


def download(model: str) -> Path:
    """Return the file of timm's own weights, downloaded if need be.

    Raises:
        UserError: there are none, or the hub cannot be reached.

    """
    file = hub_file(model)
    if file is None:
        hub.download(_hub_name(model), weights=True)
        file = hub_file(model)
    if file is None:
        raise UserError(f"the hub holds no weights of {model!r}; use `weights: random` or a file", key="weights")
    return file


def _check_model_name(model: str) -> None:
    names = _model_names()
    if model.partition(".")[0] not in names:
        suggestion = nearest(model, names)
        advice = suggestion if suggestion.startswith("did") else "see timm.list_models()"
        raise UserError(f"timm has no model {model!r}; {advice}", key="model")
    name, _, tag = model.partition(".")
    if tag and tag not in _tags(name):
        raise UserError(f"timm has no weights {tag!r} of {name!r}; {nearest(tag, _tags(name))}", key="model")


@cache
def _model_names() -> frozenset[str]:
    import timm

    return frozenset(timm.list_models())


@cache
def _tags(model: str) -> frozenset[str]:
    """Return a model's tags, `untrained` among them."""
    import timm

    return frozenset(name.partition(".")[2] for name in timm.list_models(f"{model}.*", include_tags=True))


def _hub_name(model: str) -> str:
    def compute() -> str:
        import timm

        _check_model_name(model)
        pretrained = timm.models.get_pretrained_cfg(model)
        return (pretrained and pretrained.hf_hub_id) or ""

    name = str(load_or_compute("timm-hub", [model, library_version("timm")], compute))
    if not name:
        raise UserError(f"the hub has no weights of timm's {model!r}; use `weights: random` or a file", key="weights")
    return name


def _build_error(model: str, image_size: int, error: Exception) -> UserError:
    problem = f"timm cannot build {model!r} for images of {image_size} pixels: {first_line(error)}"
    return UserError(problem, key="image_size")
