"""The parts of a transformers image-text-to-text model that managers are put around.

Shapes: B rows, T tokens, L tokens of an image, D width of the language model.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from mtlab.errors import UserError


@dataclass(frozen=True)
class Parts:
    """The parts of a LLaVA-like model, by reference."""

    model: Any  #: the whole model, a `PreTrainedModel` with a language-model head
    body: Any  #: vision tower, projector and language model: what has `get_image_features`
    tower: nn.Module  #: the vision tower, which returns `hidden_states`
    projector: nn.Module  #: from the tower's width to D
    layers: Sequence[nn.Module]  #: the decoder layers of the language model
    width: int  #: D
    depth: int  #: levels of the vision tower: `hidden_states[1]` to `hidden_states[depth]`
    image_token: int  #: id of the token that stands for a token of an image
    base: int  #: tokens of an image without tiles, or of what stands before its tiles

    @classmethod
    def of(cls, model: Any) -> Parts:
        """Find the parts.

        Raises:
            UserError: it has no image token, or is of another family than LLaVA, LLaVA-NeXT and LLaVA-OneVision.

        """
        name = type(model).__name__
        config: Any = getattr(model, "config", None)
        image_token = getattr(config, "image_token_id", None)
        if image_token is None:
            raise UserError(f"{name} has no image token: expected an image-text-to-text model such as LLaVA's")
        body = getattr(model, "model", None)
        tower, projector = getattr(body, "vision_tower", None), getattr(body, "multi_modal_projector", None)
        layers = getattr(getattr(body, "language_model", None), "layers", None)
        encode = getattr(body, "get_image_features", None)
        if tower is None or projector is None or layers is None or encode is None or not _selects_level(encode):
            raise UserError(
                f"{name} is of another family: expected a vision tower of which one level is projected, as in LLaVA, "
                "LLaVA-NeXT, LLaVA-OneVision"
            )
        text, vision = config.text_config, config.vision_config
        base = (vision.image_size // vision.patch_size) ** 2
        return cls(
            model, body, tower, projector, layers, text.hidden_size, vision.num_hidden_layers, int(image_token), base
        )

    def check_layers(self, layers: Sequence[int]) -> list[int]:
        """Return decoder layers by their numbers, 0 at the bottom, ascending.

        Raises:
            UserError: none, twice the same, or no such layer.

        """
        if not layers or any(not 0 <= layer < len(self.layers) for layer in layers):
            raise UserError(
                f"expected layers of the language model, 0 to {len(self.layers) - 1}, found {list(layers)}",
                key="layers",
            )
        if len(set(layers)) < len(layers):
            raise UserError(f"names a layer twice: {list(layers)}", key="layers")
        return sorted(layers)

    def check_levels(self, levels: Sequence[int]) -> list[int]:
        """Return levels of the vision tower by their numbers, ascending; 0 is what its first block is given.

        Raises:
            UserError: none, twice the same, or no such level.

        """
        found = [level if level >= 0 else self.depth + 1 + level for level in levels]
        if not found or any(not 0 <= level <= self.depth for level in found):
            raise UserError(
                f"expected levels of the vision tower, 0 to {self.depth}, found {list(levels)}", key="levels"
            )
        if len(set(found)) < len(found):
            raise UserError(f"names a level twice: {list(levels)}", key="levels")
        return sorted(found)


def _selects_level(encode: Any) -> bool:
    return "vision_feature_layer" in inspect.signature(encode).parameters
