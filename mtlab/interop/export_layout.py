"""Find the layout of a model in a published format, or say why the format cannot hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mtlab.errors import UserError
from mtlab.interop import heads
from mtlab.interop.architecture import BRIDGES, CLIP_HEAD
from mtlab.interop.export_source import ExportSource
from mtlab.interop.weight_names import CheckpointLayout, Dialect, Family, Link
from mtlab.towers.build import tower_shape

PUBLISHED_EPS = 1e-12  #: of the cross-modal layers' LayerNorms in the authors' code, fixed there


def export_layout(source: ExportSource, dialect: Dialect) -> CheckpointLayout:
    """Return the layout of a model in a published format.

    Raises:
        UserError: the format cannot hold the model; the key names the setting, the message the reason.

    """
    config = source.config
    _check_name(config["manager"]["name"], dialect)
    family = _family(config["manager"])
    link = _LINKS.get(config["manager"]["name"], "add")
    levels = [tower_shape(kind, config[kind]).levels for kind in ("text", "vision")]
    text, vision = _text_layers(source), _vision_layers(source)
    _check_options(config, family, dialect)
    _check_not_standardised(source.tensors)
    _check_levels(family, levels, (text, vision), config)
    if dialect == "huggingface":
        _check_hugging_face(source)
    return CheckpointLayout(
        family=family,
        dialect=dialect,
        prefix="bridgetower." if dialect == "huggingface" else "",
        text_layers=text,
        vision_layers=vision,
        cross_layers=config["model"]["cross_layers"],
        experts=(len(levels[0]), len(levels[1])) if family == "managertower" else (0, 0),
        adaptive=config["manager"]["name"] == "adaptive",
        link=link,
        gate=bool(config["text"].get("gate")),
        type_rows=3 if source.task == "reasoning" else 2,
        heads=_heads(source, dialect),
    )


def notes(source: ExportSource, dialect: Dialect) -> tuple[str, ...]:
    """Return notes on where what is exported, or the code that loads it, is another."""
    eps = float(source.config["model"]["norm_eps"])
    theirs = PUBLISHED_EPS if dialect == "official" else float(source.text.config.layer_norm_eps)
    found = []
    if eps != theirs:
        found.append(
            f"the cross-modal LayerNorms have epsilon {theirs:g} there and {eps:g} here: outputs differ by about 1e-5"
        )
    own, published = source.vision.blocks[0].attn.num_heads, source.vision.embed_dim // CLIP_HEAD
    if dialect == "official" and own != published:
        found.append(f"the authors' vision tower has {published} heads, one for 64 channels, and {own} here")
    if source.resized is not None:
        found.append("positions of image patches are those of {1} pixels, not of {0}".format(*source.resized))
    return tuple(found)


def _check_name(name: str, dialect: Dialect) -> None:
    """Check that the format has this manager at all: the first reason, before any setting."""
    if dialect == "huggingface" and name not in _LINKS:
        raise UserError(f"Hugging Face's BridgeTower has bridges, and no place for {name!r}", key="manager.name")
    if dialect == "official" and _LINKS.get(name, "add") != "add":
        raise UserError(f"the authors' BridgeTower has no {_LINKS[name]} bridges", key="manager.name")


def _family(manager: Mapping[str, Any]) -> Family:
    name = manager["name"]
    if name not in FAMILIES:
        raise UserError(
            f"no published model has the manager {name!r} (they have {', '.join(FAMILIES)})", key="manager.name"
        )
    for option, value in _FIXED[name].items():
        if manager.get(option, value) not in (value, None):
            raise UserError(
                f"the published models have {value!r} here, this one {manager[option]!r}", key=f"manager.{option}"
            )
    return FAMILIES[name]


_LINKS: dict[str, Link] = {name: link for link, name in BRIDGES.items()}
FAMILIES: dict[str, Family] = {
    "last": "meter",
    **dict.fromkeys(_LINKS, "bridgetower"),
    "static": "managertower",
    "adaptive": "managertower",
}
_FIXED: dict[str, dict[str, Any]] = {
    "last": {"expert": -1},
    **{name: {"experts": None} for name in _LINKS},
    "static": {"start": "uniform"},  # what another start adds to the scores is not among the weights
    "adaptive": {"start": "uniform", "query": "fused", "mask_query": False},
}


def _check_options(config: Mapping[str, Any], family: Family, dialect: Dialect) -> None:
    model = config["model"]
    if model["layer_embeddings"] != (family == "managertower"):
        has = "has" if family == "managertower" else "does not have"
        raise UserError(f"the published model {has} layer embeddings", key="model.layer_embeddings")
    if model["projections"] != "shared":
        raise UserError("the published models project all levels of a tower by one map", key="model.projections")
    gates = [bool(config[kind].get("gate")) for kind in ("text", "vision")]
    if any(gates) and (family != "meter" or not all(gates)):
        raise UserError("only METER has a gate, on both towers", key="text.gate")
    task = config["task"]["name"]
    if task not in heads.HEADS:
        raise UserError(f"no published head goes with the task {task!r}", key="task.name")
    if dialect == "huggingface" and task == "reasoning":
        raise UserError("Hugging Face's BridgeTower has no token type for second images", key="task.name")


def _check_not_standardised(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        default = 0.0 if ".projections.centre_" in name else 1.0 if ".projections.spread_" in name else None
        if default is not None and bool((tensor != default).any()):
            raise UserError(
                "the published models do not standardise the towers' channels, this one does", key="model.standardise"
            )


def _check_levels(
    family: Family, levels: Sequence[tuple[int, ...]], depths: tuple[int, int], config: Mapping[str, Any]
) -> None:
    """Check that the published model reads the offered levels."""
    layers = config["model"]["cross_layers"]
    for kind, offered, depth in zip(("text", "vision"), levels, depths, strict=True):
        top = tuple(range(depth - len(offered) + 1, depth + 1))
        wanted = {"meter": offered[-1] == depth, "bridgetower": True, "managertower": offered == top}[family]
        if config[kind].get("gate"):
            wanted = offered == tuple(range(1, depth + 1))
        if family == "bridgetower":
            first = depths[0] - layers  # counted from the text tower, for images as well
            pairs = tuple(range(first + 1, depths[0] + 1))
            wanted = len(offered) >= layers and offered[len(offered) - layers :] == pairs
        if not wanted:
            raise UserError(
                f"the published model does not read the levels {', '.join(map(str, offered))} of {depth}",
                key=f"{kind}.layers",
            )


def _text_layers(source: ExportSource) -> int:
    config = getattr(source.text, "config", None)
    kind = getattr(config, "model_type", None)
    if config is None or kind not in ("roberta", "bert") or source.config["text"].get("adapter_norm"):
        raise UserError(f"the published text towers are RoBERTa or BERT, this one is {kind or 'another'}", key="text")
    return int(config.num_hidden_layers)


def _vision_layers(source: ExportSource) -> int:
    """Return the number of blocks of CLIP's ViT.

    Raises:
        UserError: the network is another, or its levels are normalised differently.

    """
    from timm.layers import QuickGELU
    from timm.models.vision_transformer import VisionTransformer

    network = source.vision
    clip = (
        isinstance(network, VisionTransformer)
        and network.cls_token is not None
        and network.num_prefix_tokens == 1
        and hasattr(network.norm_pre, "weight")
        and isinstance(network.blocks[0].mlp.act, QuickGELU)
        and network.patch_embed.proj.bias is None
    )
    if not clip:
        raise UserError("the published vision tower is CLIP's ViT, this one is another", key="vision.name")
    if source.config["vision"].get("norm", "own") in ("layer", "none"):
        raise UserError("the published vision tower's levels are under its own last norm", key="vision.norm")
    side = network.patch_embed.grid_size[0]
    if source.config["vision"].get("grid") not in (None, side):
        raise UserError(f"the published vision tower's {side} × {side} patches are not pooled", key="vision.grid")
    return len(network.blocks)


def _check_hugging_face(source: ExportSource) -> None:
    cross, text, vision = source.config["model"], source.text.config, source.vision
    needs = (
        ("model.width", cross["width"], text.hidden_size, "the text tower's width"),
        ("model.heads", cross["heads"], text.num_attention_heads, "the text tower's number of heads"),
        (
            "model.mlp_ratio",
            cross["mlp_ratio"] * cross["width"],
            text.intermediate_size,
            "the text tower's inner width",
        ),
        ("vision.heads", vision.blocks[0].attn.num_heads, vision.embed_dim // CLIP_HEAD, "the vision width over 64"),
        ("text.model", text.hidden_act, "gelu", "one activation for text tower and cross-modal layers"),
    )
    for key, own, needed, what in needs:
        if own != needed:
            raise UserError(f"Hugging Face's BridgeTower takes {what} here, {needed}; this model has {own}", key=key)
    if text.model_type != "roberta":
        raise UserError("Hugging Face's BridgeTower counts positions as RoBERTa does, not as BERT", key="text.model")


def _heads(source: ExportSource, dialect: Dialect) -> dict[str, tuple[str, ...]]:
    """Return the published names of our heads' weights, for the heads that the format has."""
    found = {}
    for kind, place in heads.HEADS[source.task].items():
        own = sorted(name.removeprefix(f"{place}.") for name in source.tensors if name.startswith(f"{place}."))
        if own and (dialect == "official" or kind in ("mlm", "itm")):
            found[kind] = heads.published_names(kind, own)
    return found
