"""Weights that the published models contain but never use, by which their parameter counts exceed ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtlab.towers.build import tower_shape

#: Of CLIP's text tower, which is dropped, the position embeddings of 77 tokens and the last norm remain.
_CLIP_TOKENS = 77
_CLIP_TEXT_WIDTHS = {768: 512, 1024: 768}  #: width of CLIP's vision tower → of its text tower
_MANAGERS = {"static", "adaptive"}
_FAMILIES = {"last", "bridge", *_MANAGERS}


def dead_weights(config: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the dead weights, by name, of the published model that a configuration matches, or None.

    Live parameters and these are together what METER, BridgeTower and ManagerTower count. Found by running their code
    and looking for parameters without a gradient.

    Args:
        config: the run's resolved configuration.

    """
    vision, text, manager = config["vision"], config["text"], config["manager"]
    clip = vision["name"] == "clip_vit" or (vision["name"] == "timm" and "_clip_quickgelu_" in str(vision["model"]))
    encoder = text["name"] == "transformers" and "bert" in str(text["model"]).lower()
    if not clip or not encoder or manager["name"] not in _FAMILIES:
        return None
    text_width = tower_shape("text", text).widths[-1]
    clip_width = _CLIP_TEXT_WIDTHS.get(tower_shape("vision", vision).widths[-1])
    if clip_width is None:
        return None
    found = {
        "text_transformer.pooler": text_width**2 + text_width,
        "vit_model.positional_embedding": _CLIP_TOKENS * clip_width,
        "vit_model.ln_final": 2 * clip_width,
    }
    contrastive = config["task"]["name"] == "retrieval" or {"itc", "itm_itc"} & set(
        config["task"].get("objectives", ())
    )
    if not contrastive:  # the temperature of a loss that is not trained
        found["temperature"] = 1
    if manager["name"] in _MANAGERS:
        found["softmax_temperature_cross of every manager"] = 2 * config["model"]["cross_layers"]
    return found
