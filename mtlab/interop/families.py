"""Detect the published model that a state dict belongs to, from its names and shapes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from mtlab.errors import UserError
from mtlab.interop.weight_names import LINKS, CheckpointLayout, Dialect, Family, Link

Shapes = Mapping[str, tuple[int, ...]]  #: a weight's name → its shape

#: Start of weight names → head.
HEAD_NAMES = {
    "mlm_score.": "mlm",
    "itm_score.": "itm",
    "cross_modal_itc_": "itc",
    "itc_": "itc",
    "vqa_classifier.": "vqa",
    "nlvr2_classifier.": "nlvr2",
    "snli_classifier.": "snli",
    "rank_output.": "rank",
}
#: The same for Hugging Face, whose contrastive heads read other features than the published ones.
HUGGING_FACE_HEADS = {"mlm_score.": "mlm", "itm_score.": "itm", "itc_": "contrastive", "logit_scale": "contrastive"}

#: Weights that the published code allocates and never reads.
DEAD = re.compile(
    r"temperature"
    r"|vit_model\.(positional_embedding|ln_final\.(weight|bias))"
    r"|text_transformer\.(embeddings\.position_ids|pooler\.dense\.(weight|bias))"
    r"|cross_modal_(text|image)_manager_tower\.\d+\.manager_layer\.softmax_temperature_cross"
    r"|(bridgetower\.)?(text_model\.(embeddings\.(position_ids|token_type_ids)|pooler\.dense\.(weight|bias))"
    r"|vision_model\.visual\.embeddings\.position_ids)"
)


def detect_layout(shapes: Shapes) -> CheckpointLayout:
    """Detect the layout of a state dict, in spite of a few missing or misnamed weights.

    Args:
        shapes: the shapes of all its tensors.

    Raises:
        UserError: it belongs to no known family; the message says what it holds.

    """
    dialect, prefix = _dialect(shapes)
    cross = f"{prefix}cross_modal_"
    family = _family(shapes, dialect, cross)
    text = "text_transformer" if dialect == "official" else f"{prefix}text_model"
    vision = "vit_model.visual" if dialect == "official" else f"{prefix}vision_model.visual"
    types = shapes.get(f"{prefix}token_type_embeddings.weight", (2,))[0]
    manager = f"{cross}(?:text|image)_manager_tower"
    return CheckpointLayout(
        family=family,
        dialect=dialect,
        prefix=prefix,
        text_layers=_count(shapes, rf"{text}\.encoder\.layer\.(\d+)\."),
        vision_layers=_count(shapes, rf"{vision}\.transformer\.resblocks\.(\d+)\."),
        cross_layers=_count(shapes, rf"{cross}(?:text|image)_layers\.(\d+)\."),
        experts=(_experts(shapes, f"{cross}text"), _experts(shapes, f"{cross}image")),
        adaptive=_any(shapes, rf"{manager}\.\d+\.manager_layer\.(linear_controller|fusion_attention)\."),
        link=_link(shapes, cross),
        gate=_any(shapes, r"(text|image)_gate\."),
        type_rows=max(2, types),
        heads=_heads(shapes, HEAD_NAMES if dialect == "official" else HUGGING_FACE_HEADS),
        dead=frozenset(name for name in shapes if DEAD.fullmatch(name)),
    )


def _dialect(shapes: Shapes) -> tuple[Dialect, str]:
    for start, dialect, prefix in _STARTS:
        if sum(name.startswith(start) for name in shapes) > 3:
            return dialect, prefix
    if any(name.startswith(("vit_model.", "text_transformer.")) for name in shapes):
        found = _tops(shapes)
        raise UserError(f"is related to METER, but its vision tower is not CLIP's ViT (its weights: {found})")
    raise UserError(
        f"is no METER, BridgeTower or ManagerTower: {len(shapes)} weights, {_tops(shapes)}"
        if shapes
        else "holds no weights"
    )


_STARTS: tuple[tuple[str, Dialect, str], ...] = (
    ("vit_model.visual.transformer.resblocks.", "official", ""),
    ("bridgetower.vision_model.visual.", "huggingface", "bridgetower."),
    ("vision_model.visual.transformer.resblocks.", "huggingface", ""),
    ("bridgetower.cross_modal_", "huggingface", "bridgetower."),  # a damaged one
)


def _family(shapes: Shapes, dialect: Dialect, cross: str) -> Family:
    if not _any(shapes, rf"{cross}(text|image)_"):
        raise UserError(f"has two towers, but no cross-modal layers: {len(shapes)} weights, {_tops(shapes)}")
    if _any(shapes, rf"{cross}(text|image)_manager_tower\."):
        return "managertower"
    if dialect == "huggingface" or _any(shapes, rf"{cross}(text|image)_(link_tower|layernorm)\."):
        return "bridgetower"
    return "meter"


def _heads(shapes: Shapes, known: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name in sorted(shapes):
        kind = next((kind for start, kind in known.items() if name.startswith(start)), None)
        if kind is not None:
            found.setdefault(kind, []).append(name)
    return {kind: tuple(names) for kind, names in found.items()}


def _experts(shapes: Shapes, cross: str) -> int:
    """Count the managed levels of a modality: LayerNorms of its first manager, which has no previous state."""
    return _count(shapes, rf"{cross}_manager_tower\.0\.manager_layer\.LayerNorm\.(\d+)\.")


def _link(shapes: Shapes, cross: str) -> Link:
    for link, name in LINKS.items():
        if _any(shapes, rf"{cross}(text|image)_link_tower\.\d+\.{name}"):
            return link
    return "add"


def _count(names: Iterable[str], pattern: str) -> int:
    """Count the layer numbers in names, leaving out numbers with less than half of a layer's weights."""
    numbers = Counter(int(match[1]) for name in names if (match := re.match(pattern, name)))
    most = max(numbers.values(), default=0)
    return sum(count * 2 > most for count in numbers.values())


def _any(names: Iterable[str], pattern: str) -> bool:
    return any(re.match(pattern, name) for name in names)


def _tops(names: Collection[str]) -> str:
    """Summarise the starts of the names, for messages."""
    tops = Counter(".".join(name.split(".")[:2]) for name in names)
    return ", ".join(f"{top}.…" if count > 1 else top for top, count in tops.most_common(4))
