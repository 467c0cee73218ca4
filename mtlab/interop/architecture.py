"""Infer a configuration of ours from the weight shapes of a published checkpoint."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

from mtlab.errors import UserError
from mtlab.interop.families import Shapes
from mtlab.interop.heads import CLASSIFIERS
from mtlab.interop.weight_names import CheckpointLayout, Link
from mtlab.runs.imported_checkpoint import TEXT_FOLDER, VISION_FILE

BRIDGES: dict[Link, str] = {  #: what the published bridge computes → our manager
    "add": "bridge",
    "scaled_add": "bridge_scaled_add",
    "interpolate": "bridge_interpolate",
}
FAMILIES = {"meter": "METER", "bridgetower": "BridgeTower", "managertower": "ManagerTower"}
CLIP_HEAD = 64  #: width of an attention head, fixed in CLIP's code and in the published sizes of the others


@dataclass(frozen=True)
class Hyperparameters:
    """Settings that weight shapes do not determine; None: as published."""

    heads: int | None = None  #: of the cross-modal layers
    text_heads: int | None = None
    vision_heads: int | None = None
    dropout: float = 0.1
    max_length: int = 50  #: text tokens
    norm_eps: float = 1e-12  #: of the cross-modal layers' LayerNorms; Hugging Face's: 1e-5
    text: Mapping[str, Any] | None = None  #: the text tower's own configuration, where it is known


@dataclass(frozen=True)
class CheckpointSizes:
    """Sizes that weight shapes determine."""

    width: int
    ratio: int
    text_width: int
    text_inner: int
    vocabulary: int
    positions: int
    text_types: int
    vision_width: int
    patch: int
    grid: int


def infer_sizes(layout: CheckpointLayout, shapes: Shapes) -> CheckpointSizes:
    """Infer sizes from shapes, each as the value that most weights agree on, so that one wrong weight is detected.

    Raises:
        UserError: no weight determines a size, or the vision tower has no square grid.

    """
    official = layout.dialect == "official"
    text = r"text_transformer\." if official else r"(bridgetower\.)?text_model\."
    vision = r"vit_model\.visual\." if official else r"(bridgetower\.)?vision_model\.visual\."
    cross = r"(bridgetower\.)?cross_modal_(text|image)_"
    conv = vision + (r"conv1\.weight" if official else r"embeddings\.patch_embedding\.weight")
    table = vision + ("positional_embedding" if official else r"embeddings\.position_embedding\.weight")
    width = _most_common(shapes, {cross + r"layers\..*LayerNorm\.bias": 0, cross + r"pooler\.dense\.bias": 0}, "width")
    inner = _most_common(
        shapes, {cross + r"layers\.\d+\.intermediate\.dense\.bias": 0}, "feed-forward width", 4 * width
    )
    words = {text + r"embeddings\.word_embeddings\.weight": 0, r"mlm_score\.(bias|decoder\.weight)": 0}
    tokens = _most_common(shapes, {table: 0}, "number of image tokens")
    grid = isqrt(tokens - 1)
    if grid**2 + 1 != tokens:
        name = next(name for name in shapes if re.fullmatch(table, name))
        raise UserError(f"{name}: {tokens} positions are no class token and square grid")
    if inner % width:
        raise UserError(f"the cross-modal feed-forward width {inner} is no multiple of the width {width}")
    return CheckpointSizes(
        width=width,
        ratio=inner // width,
        text_width=_most_common(shapes, {text + r".*LayerNorm\.bias": 0}, "width of the text tower"),
        text_inner=_most_common(
            shapes, {text + r".*intermediate\.dense\.bias": 0}, "feed-forward width of the text tower"
        ),
        vocabulary=_most_common(shapes, words, "vocabulary"),
        positions=_most_common(
            shapes, {text + r"embeddings\.position_embeddings\.weight": 0}, "number of text positions"
        ),
        text_types=_most_common(
            shapes, {text + r"embeddings\.token_type_embeddings\.weight": 0}, "number of token types"
        ),
        vision_width=_most_common(shapes, {vision + r".*(ln_\w+)\.bias": 0}, "width of the vision tower"),
        patch=_most_common(shapes, {conv: -1}, "side of a patch"),
        grid=grid,
    )


def text_config(layout: CheckpointLayout, found: CheckpointSizes, hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Return the text tower's configuration for transformers: RoBERTa's, or BERT's where there are two token types.

    Raises:
        UserError: the heads do not divide the width, or the given configuration is of another encoder.

    """
    bert = found.text_types == 2
    published: Mapping[str, Any] = _BERT if bert else _ROBERTA
    measured = {
        "vocab_size": found.vocabulary,
        "hidden_size": found.text_width,
        "num_hidden_layers": layout.text_layers,
        "intermediate_size": found.text_inner,
        "max_position_embeddings": found.positions,
        "type_vocab_size": found.text_types,
    }
    if hyperparameters.text is not None:
        different = [
            f"{key} {hyperparameters.text[key]}"
            for key, value in measured.items()
            if hyperparameters.text.get(key, value) != value
        ]
        if different:
            raise UserError(f"the text tower given is another than the checkpoint's: it has {', '.join(different)}")
        published = {**published, **hyperparameters.text}
    heads = hyperparameters.text_heads or published.get("num_attention_heads")
    return {**published, **measured, "num_attention_heads": _heads(heads, found.text_width, "text-heads")}


def infer_config(
    layout: CheckpointLayout, shapes: Shapes, found: CheckpointSizes, hyperparameters: Hyperparameters
) -> dict[str, Any]:
    """Return the sections text, vision, model and manager of our configuration, with towers in the same folder.

    Raises:
        UserError: heads do not divide a width; layers do not pair.

    """
    heads = _heads(hyperparameters.heads, found.width, "heads")
    usable = found.positions - (0 if found.text_types == 2 else 2)
    layers = _layers(layout)
    return {
        "text": {
            "name": "transformers",
            "model": TEXT_FOLDER,
            "max_length": min(hyperparameters.max_length, usable),
            "layers": layers[0],
            "trainable": True,
        }
        | _gate(layout),
        "vision": {
            "name": "clip_vit",
            "width": found.vision_width,
            "depth": layout.vision_layers,
            "heads": _heads(hyperparameters.vision_heads, found.vision_width, "vision-heads"),
            "patch": found.patch,
            "image_size": found.grid * found.patch,
            "weights": VISION_FILE,
            "layers": layers[1],
            "trainable": True,
        }
        | _gate(layout),
        "model": {
            "width": found.width,
            "heads": heads,
            "cross_layers": layout.cross_layers,
            "mlp_ratio": found.ratio,
            "dropout": hyperparameters.dropout,
            "norm_eps": hyperparameters.norm_eps,
            "standardise": False,
            "init_std": 0.02,
            "projections": "shared",
            "layer_embeddings": layout.family == "managertower",
        },
        "manager": _manager(layout, shapes),
    }


def infer_task(
    layout: CheckpointLayout, shapes: Shapes, found: CheckpointSizes, name: str
) -> tuple[dict[str, Any], int]:
    """Return the task section for the heads of a checkpoint, and the number of its answers."""
    width = 2 * found.width
    kind = CLASSIFIERS.get(name)
    if kind is None:
        space = [shapes[n][0] for n in layout.heads.get("itc", ()) if n.endswith("weight")]
        options: dict[str, Any] = {"contrastive_width": space[0]} if space else {}
        if name == "pretraining":
            options["objectives"] = [head for head in ("mlm", "itm", "itc") if head in layout.heads] or ["itm"]
        return {"name": name, **options}, 2
    weights = [n for n in layout.heads.get(kind, ()) if n.endswith("weight") and len(shapes[n]) == 2]
    if not weights:
        return {"name": name}, 2
    last = shapes[weights[-1]]
    node: dict[str, Any] = {"name": name}
    if name == "question_answering":
        node["loss"] = "binary"
    if len(weights) == 1:
        node["head_layers"] = 1
    else:
        node["head_scale"] = shapes[weights[0]][0] / width
    return node, last[0]


def guess_task(layout: CheckpointLayout) -> str:
    """Return the task that a checkpoint's heads belong to, with preference for pre-training."""
    heads = set(layout.heads)
    if "mlm" in heads:
        return "pretraining"
    if "itc" in heads:
        return "retrieval"
    return next((name for name, kind in CLASSIFIERS.items() if kind in heads), "pretraining")


def _manager(layout: CheckpointLayout, shapes: Shapes) -> dict[str, Any]:
    if layout.family == "meter":
        return {"name": "last"}
    if layout.family == "bridgetower":
        return {"name": BRIDGES[layout.link]}
    scores = r"cross_modal_\w+\.\d+\.manager_layer\.layer_scores(_cross)?"
    cells = _most_common(shapes, {scores: -1}, "shape of the layer scores")
    shared = {"weight": "scalar" if cells == 1 else "vector", "noise": 1.0}
    if layout.adaptive:
        return {"name": "adaptive", "query": "fused", "mask_query": False, **shared}
    return {"name": "static", **shared}


def _layers(layout: CheckpointLayout) -> tuple[Any, Any]:
    """Return the settings `layers` of text and vision tower: the levels that the published model reads.

    BridgeTower counts the levels of both towers from the text tower's depth.
    """
    if layout.family == "managertower":
        return f"top{layout.experts[0]}", f"top{layout.experts[1]}"
    if layout.family == "meter":
        return ("all", "all") if layout.gate else ("top1", "top1")
    first = layout.text_layers - layout.cross_layers + 1
    pairs = list(range(first, layout.text_layers + 1))
    if first < 1 or layout.text_layers > layout.vision_layers:
        raise UserError(
            f"{layout.cross_layers} cross-modal layers do not pair with {layout.text_layers} text"
            f" and {layout.vision_layers} image layers"
        )
    top = f"top{layout.cross_layers}"
    return top, top if layout.text_layers == layout.vision_layers else pairs


def _gate(layout: CheckpointLayout) -> dict[str, Any]:
    return {"gate": True} if layout.gate else {}


def _heads(given: int | None, width: int, option: str) -> int:
    if given is None and width % CLIP_HEAD:
        raise UserError(
            f"the width {width} does not determine the number of heads (published: width / {CLIP_HEAD}):"
            f" give --{option}"
        )
    heads = given or width // CLIP_HEAD
    if width % heads:
        raise UserError(f"{heads} heads do not divide the width {width}: give --{option}")
    return heads


def _most_common(shapes: Shapes, patterns: Mapping[str, int], what: str, default: int | None = None) -> int:
    """Return the most common size of weights along an axis; `patterns` maps patterns of whole names to axes."""
    counted: Counter[int] = Counter()
    for pattern, axis in patterns.items():
        matched = [shape for name, shape in shapes.items() if re.fullmatch(pattern, name)]
        counted.update(shape[axis] for shape in matched if -len(shape) <= axis < len(shape))
    if counted:
        return counted.most_common(1)[0][0]
    if default is None:
        raise UserError(f"no weight determines the {what}")
    return default


_COMMON = {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
_ROBERTA = {
    "model_type": "roberta",
    "architectures": ["RobertaModel"],
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    **_COMMON,
}
_BERT = {"model_type": "bert", "architectures": ["BertModel"], "layer_norm_eps": 1e-12, "pad_token_id": 0, **_COMMON}
