"""The published grouping of parameters: what METER, BridgeTower and ManagerTower decay, and how fast each part learns.

Their code sorts parameters by substrings of their names. Some are decayed by an accident of naming: all norms of the
CLIP tower (`ln_1`, `ln_post`, …), the norm inside a classifier (`vqa_classifier.1`), the norms of a manager's experts
(`LayerNorm.3`), layer scores and temperatures. Reproduced here on our names; docs/optimisation.md lists the effects.
Source: the released code of METER (CVPR 2022), BridgeTower (AAAI 2023) and ManagerTower (ACL 2023).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

Part = Literal["rest", "head", "cross-modal"]

#: A name that holds one of these is not decayed; bridges, cross-modal layers and text towers name their norms so.
_NOT_DECAYED = ("bias", "norm.weight", "LayerNorm.weight", "norm1.weight", "norm2.weight")
#: Norms that go by other names in the published code, which therefore decays them.
_CLIP_NORM = re.compile(r"towers\.vision\.network\.(norm|norm_pre|blocks\.\d+\.norm[12])\.weight")
_EXPERT_NORM = re.compile(r"encoder\.(text|image)\.managers\.\d+\.previous_norm\.weight")
#: Encoder parameters whose published names lack "cross_modal": they learn at the base rate.
_BASE_RATE = re.compile(r"encoder\.(text|image)\.(embeddings|gate)\.")


def official_part(name: str) -> Part:
    """Return at which rate a parameter learns: the base rate, or that times the multiplier of head or cross-modal part.

    >>> official_part("encoder.text.managers.1.score"), official_part("encoder.text.embeddings.layer.weight")
    ('cross-modal', 'rest')
    >>> official_part("task.head.0.weight")
    'head'
    """
    if name.startswith("encoder."):
        return "rest" if _BASE_RATE.match(name) else "cross-modal"
    if name.startswith("task.itc."):  # its projections are called cross_modal_itc_…, its temperature is not
        return "rest" if name.endswith(".temperature") else "cross-modal"
    return "head" if name.startswith("task.") else "rest"


def is_decayed(name: str, *, clip: bool) -> bool:
    """Return whether the published code decays a parameter.

    Args:
        name: in the whole model.
        clip: is the vision tower CLIP's, see `is_clip`? The norms of other towers are not decayed.

    """
    if name.endswith(".shift") and ".managers." in name:  # the biases of the experts' norms
        return False
    if _EXPERT_NORM.fullmatch(name) or (clip and _CLIP_NORM.fullmatch(name)):
        return True
    return not any(part in name for part in _NOT_DECAYED)


def is_clip(names: Collection[str]) -> bool:
    """Return whether a model's vision tower is CLIP's, by parameter names: it alone has a norm before the blocks."""
    return "towers.vision.network.norm_pre.weight" in names
