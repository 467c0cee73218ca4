"""Map the weight names of published checkpoints to ours, and back.

A `CheckpointLayout` holds what the names of a checkpoint depend on, `weight_mappings` lists the correspondences, and
`to_ours` and `to_theirs` convert a state dict, bit for bit in both directions. Pure functions: no file is read, no
model is built, and tensors may be on the meta device, which converts their shapes.

Shapes: D width of the cross-modal layers, D_m width of a tower, N experts of a modality.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from mtlab.errors import UserError
from mtlab.interop.heads import HEADS, TEMPERATURE, names_in_head
from mtlab.interop.tensor_maps import (
    DROP_AXIS,
    FLATTEN,
    IDENTITY,
    LEADING_TWO,
    SCALAR,
    STACK,
    TensorMap,
    concatenate,
    split_rows,
    split_scores,
)
from mtlab.managers.base import MODALITIES, Modality

Dialect = Literal["official", "huggingface"]
Family = Literal["meter", "bridgetower", "managertower"]
Link = Literal["add", "scaled_add", "interpolate"]
UNMAPPED = "unmapped/"  #: prefix in `WeightMapping.ours` of weights that our model lacks; kept for export


@dataclass(frozen=True)
class CheckpointLayout:
    """What the names of a checkpoint depend on; `families.detect_layout` finds it from a state dict."""

    family: Family
    text_layers: int
    vision_layers: int
    cross_layers: int
    dialect: Dialect = "official"
    prefix: str = ""  #: of all names but the heads': "bridgetower." in Hugging Face models with a head
    experts: tuple[int, int] = (0, 0)  #: ManagerTower: managed layers of text and image
    adaptive: bool = False  #: ManagerTower: AAUE, else SAUE
    link: Link = "add"  #: BridgeTower: what its bridges compute
    gate: bool = False  #: METER's fusion gate
    type_rows: int = 2  #: rows of the token-type table; 3 after NLVR²
    heads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  #: mlm, itm, … → names of its weights
    dead: frozenset[str] = frozenset()  #: names of the checkpoint's weights that nothing reads


@dataclass(frozen=True)
class WeightMapping:
    """Some weights of a checkpoint and their counterparts in our model, mostly one to one."""

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    transform: TensorMap = IDENTITY


def weight_mappings(layout: CheckpointLayout, task: str) -> list[WeightMapping]:
    """List all correspondences between a checkpoint and a model of ours with the given task.

    Every weight of the checkpoint is in exactly one entry. Those that our model lacks (unused weights, heads of other
    tasks, the token type of second images where the task has none) are in entries whose `ours` starts with `UNMAPPED`.

    Args:
        layout: the checkpoint's.
        task: the registered name of our task, one of `HEADS`.

    """
    entries = [*_towers(layout), *_shared(layout, second_images=task == "reasoning")]
    for number, modality in enumerate(MODALITIES):
        entries += _stream(layout, modality, layout.experts[number])
    for kind, names in layout.heads.items():
        place = HEADS[task].get(kind)
        within = names_in_head(names)
        entries += [
            WeightMapping((name,), (UNMAPPED + name if place is None else f"{place}.{within[name]}",)) for name in names
        ]
    itc = HEADS[task].get("itc") if "itc" in layout.heads else None
    for name in sorted(layout.dead):
        live = itc is not None and name == TEMPERATURE
        entries.append(WeightMapping((name,), (f"{itc}.{TEMPERATURE}" if live else UNMAPPED + name,)))
    return entries


def to_ours(theirs: Mapping[str, Tensor], entries: list[WeightMapping]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Convert a checkpoint's state dict to our names.

    Args:
        theirs: published name → tensor.
        entries: from `weight_mappings`.

    Returns:
        Our name → tensor; and the unmapped weights, published name → tensor.

    Raises:
        UserError: a weight is missing, unknown, or has a shape that cannot be converted.

    """
    check_names(set(theirs), {name for entry in entries for name in entry.theirs})
    return _map_forward(theirs, entries)


def to_theirs(
    ours: Mapping[str, Tensor], unmapped: Mapping[str, Tensor], entries: list[WeightMapping]
) -> dict[str, Tensor]:
    """Convert our state dict to a checkpoint's names: the inverse of `to_ours`, bit for bit.

    Args:
        ours: our name → tensor; names that are not in `entries` are ignored.
        unmapped: the unmapped weights that `to_ours` returned.
        entries: from `weight_mappings`.

    Raises:
        UserError: a weight in `entries` is missing.

    """
    weights = {**ours, **{UNMAPPED + name: tensor for name, tensor in unmapped.items()}}
    missing = [name for entry in entries for name in entry.ours if name not in weights]
    if missing:
        raise UserError(f"{len(missing)} weights are missing: {list_names(missing)}")
    found: dict[str, Tensor] = {}
    for entry in entries:
        parts = entry.transform.backward([weights[name] for name in entry.ours])
        found |= dict(zip(entry.theirs, parts, strict=True))
    return found


def check_names(found: set[str], known: set[str]) -> None:
    """Check that a state dict has exactly the known names.

    Raises:
        UserError: lists the missing and unknown names.

    """
    missing, unknown = sorted(known - found), sorted(found - known)
    problems = [f"lacks {list_names(missing)}"] if missing else []
    problems += [f"has the unknown {list_names(unknown)}"] if unknown else []
    if problems:
        raise UserError(f"does not have the weights of its kind: it {' and '.join(problems)}")


def list_names(names: Sequence[str]) -> str:
    """Join names for a message, the first four of them."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _map_forward(
    theirs: Mapping[str, Tensor], entries: list[WeightMapping]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    ours: dict[str, Tensor] = {}
    for entry in entries:
        given = [theirs[name] for name in entry.theirs]
        try:
            ours |= dict(zip(entry.ours, entry.transform.forward(given), strict=True))
        except (RuntimeError, ValueError, IndexError):
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in given)
            raise UserError(f"{list_names(list(entry.theirs))}: unexpected shape {shapes}") from None
    unmapped = {name.removeprefix(UNMAPPED): ours.pop(name) for name in list(ours) if name.startswith(UNMAPPED)}
    return ours, unmapped


def _both(theirs: str, ours: str) -> Iterator[WeightMapping]:
    """Map weight and bias of a module."""
    for part in ("weight", "bias"):
        yield WeightMapping((f"{theirs}.{part}",), (f"{ours}.{part}",))


def _towers(layout: CheckpointLayout) -> Iterator[WeightMapping]:
    official = layout.dialect == "official"
    theirs = "text_transformer" if official else f"{layout.prefix}text_model"
    ours = "towers.text.network"
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        yield WeightMapping((f"{theirs}.embeddings.{name}.weight",), (f"{ours}.embeddings.{name}.weight",))
    yield from _both(f"{theirs}.embeddings.LayerNorm", f"{ours}.embeddings.LayerNorm")
    for number in range(layout.text_layers):
        for name in _TEXT_LAYER:
            yield from _both(f"{theirs}.encoder.layer.{number}.{name}", f"{ours}.encoder.layer.{number}.{name}")

    theirs = "vit_model.visual" if official else f"{layout.prefix}vision_model.visual"
    ours = "towers.vision.network"
    inner = ("", "conv1", "positional_embedding") if official else _HUGGING_FACE_VISION
    yield WeightMapping((f"{theirs}.{inner[0]}class_embedding",), (f"{ours}.cls_token",), LEADING_TWO)
    yield WeightMapping((f"{theirs}.{inner[1]}.weight",), (f"{ours}.patch_embed.proj.weight",))
    yield WeightMapping((f"{theirs}.{inner[2]}",), (f"{ours}.pos_embed",), DROP_AXIS)
    yield from _both(f"{theirs}.ln_pre", f"{ours}.norm_pre")
    yield from _both(f"{theirs}.ln_post", f"{ours}.norm")
    for number in range(layout.vision_layers):
        block, at = f"{theirs}.transformer.resblocks.{number}", f"{ours}.blocks.{number}"
        for part in ("weight", "bias"):
            yield WeightMapping((f"{block}.attn.in_proj_{part}",), (f"{at}.attn.qkv.{part}",))
        for name, own in _VISION_BLOCK.items():
            yield from _both(f"{block}.{name}", f"{at}.{own}")


def _shared(layout: CheckpointLayout, *, second_images: bool) -> Iterator[WeightMapping]:
    """Map the token-type table that both modalities share: its rows are text, image and second image."""
    rows = ["encoder.text.embeddings.token_type.weight", "encoder.image.embeddings.token_type.weight"]
    name = f"{layout.prefix}token_type_embeddings.weight"
    sizes = [1, layout.type_rows - 1]
    if layout.type_rows > 2 and not second_images:
        rows, sizes = [*rows, f"{UNMAPPED}{name}/second_image"], [1, 1, layout.type_rows - 2]
    yield WeightMapping((name,), tuple(rows), split_rows(sizes))


def _stream(layout: CheckpointLayout, modality: Modality, experts: int) -> Iterator[WeightMapping]:
    ours, theirs = f"encoder.{modality}", f"{layout.prefix}cross_modal_{modality}"
    yield from _both(f"{theirs}_transform", f"{ours}.projections.shared")
    yield from _both(f"{theirs}_pooler.dense", f"{ours}.pooler.linear")
    if layout.gate:
        yield from _both(f"{modality}_gate", f"{ours}.gate")
    if layout.family == "managertower":
        yield WeightMapping((f"layer_embeddings_{modality}.weight",), (f"{ours}.embeddings.layer.weight",))
    for depth in range(layout.cross_layers):
        for part in ("weight", "bias"):
            for own, names in _CROSS_LAYER.items():
                given = tuple(f"{theirs}_layers.{depth}.{name}.{part}" for name in names)
                transform = concatenate(len(given)) if len(given) > 1 else IDENTITY
                yield WeightMapping(given, (f"{ours}.layers.{depth}.{own}.{part}",), transform)
        at = f"{ours}.managers.{depth}"
        if layout.family == "bridgetower":
            yield from _bridge(layout, theirs, at, depth)
        elif layout.family == "managertower":
            yield from _manager(layout, f"{theirs}_manager_tower.{depth}.manager_layer", at, depth, experts)


def _bridge(layout: CheckpointLayout, theirs: str, ours: str, depth: int) -> Iterator[WeightMapping]:
    if not depth:
        yield from _both(f"{theirs}_layernorm", f"{ours}.norm")
        return
    tower = f"{theirs}_link_tower.{depth - 1}"
    yield from _both(f"{tower}.LayerNorm", f"{ours}.norm")
    if layout.link != "add":
        yield WeightMapping((f"{tower}.{LINKS[layout.link]}",), (f"{ours}.{LINKS_HERE[layout.link]}",))


def _manager(layout: CheckpointLayout, theirs: str, ours: str, depth: int, experts: int) -> Iterator[WeightMapping]:
    for part, own in (("weight", "scale"), ("bias", "shift")):
        names = tuple(f"{theirs}.LayerNorm.{number}.{part}" for number in range(experts))
        yield WeightMapping(names, (f"{ours}.{own}",), STACK)
    yield WeightMapping((f"{theirs}.softmax_temperature",), (f"{ours}.temperature",), SCALAR)
    if depth:
        yield from _both(f"{theirs}.LayerNorm.{experts}", f"{ours}.previous_norm")
    if not layout.adaptive:
        given = (f"{ours}.score", f"{ours}.previous_weight") if depth else (f"{ours}.score",)
        yield WeightMapping((f"{theirs}.layer_scores",), given, split_scores(experts) if depth else IDENTITY)
    elif not depth:
        yield WeightMapping((f"{theirs}.layer_scores",), (f"{ours}.score",))
    else:
        yield WeightMapping((f"{theirs}.layer_scores_cross",), (f"{ours}.previous_weight",), FLATTEN)
        for name, own in _QUERY.items():
            yield from _both(f"{theirs}.{name}", f"{ours}.{own}")


LINKS: dict[Link, str] = {
    "scaled_add": "scaled_factor",
    "interpolate": "beta",
}  #: a link's scalar in Hugging Face's BridgeTower
LINKS_HERE: dict[Link, str] = {"scaled_add": "scale", "interpolate": "beta"}  #: the same in our bridges

_HUGGING_FACE_VISION = ("embeddings.", "embeddings.patch_embedding", "embeddings.position_embedding.weight")
_TEXT_LAYER = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_VISION_BLOCK = {
    "attn.out_proj": "attn.proj",
    "ln_1": "norm1",
    "ln_2": "norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_CROSS_LAYER = {
    "self_attention.query": ["attention.self.query"],
    "self_attention.key_value": ["attention.self.key", "attention.self.value"],
    "self_attention.out": ["attention.output.dense"],
    "self_norm": ["attention.output.LayerNorm"],
    "cross_attention.query": ["crossattention.self.query"],
    "cross_attention.key_value": ["crossattention.self.key", "crossattention.self.value"],
    "cross_attention.out": ["crossattention.output.dense"],
    "cross_norm": ["crossattention.output.LayerNorm"],
    "feed_forward.widen": ["intermediate.dense"],
    "feed_forward.narrow": ["output.dense"],
    "out_norm": ["output.LayerNorm"],
}
_QUERY = {
    "fusion_attention.q_proj": "query",
    "fusion_attention.k_proj": "key",
    "extra_query_LayerNorm": "other_norm",
    "linear_controller": "controller",
}
