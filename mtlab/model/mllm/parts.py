"""The parts of a transformers image-text-to-text model, and how its family reads a level of the vision tower.

Shapes: L tokens of an image, N levels, D width of the language model.
"""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from mtlab.errors import UserError
from mtlab.towers.base import TokenGrid

KNOWN = "LLaVA, LLaVA-NeXT, LLaVA-OneVision, Idefics3, SmolVLM, Qwen2.5-VL, Qwen3-VL"


class Parts(ABC):
    """The parts that managers are put around, by reference.

    A level goes the way on which the model reads the state behind the last block of its tower: through its norm, if it
    has one there, its pixel shuffle or patch merger, and its projector.

    Args:
        model: a `PreTrainedModel` with a language-model head.
        tower: name of the vision tower in its body.
        language_model: name of the language model in its body.

    """

    def __init__(self, model: Any, tower: str, language_model: str) -> None:
        self.model = model
        self.body = model.model  #: has vision tower, projector, language model and `get_image_features`
        self.tower: Any = getattr(self.body, tower)  #: returns `hidden_states`
        self.language_model: Any = getattr(self.body, language_model)
        self.layers: Sequence[nn.Module] = self.language_model.layers
        self.width: int = model.config.text_config.hidden_size  #: D
        self.depth: int = model.config.vision_config.num_hidden_layers  #: `hidden_states[depth]` is the top level
        self.image_token: int = model.config.image_token_id
        self.video_token: int | None = getattr(model.config, "video_token_id", None)

    @abstractmethod
    def projector(self, level: int) -> nn.Module:
        """Return the module that gives the tokens of a level their width D."""

    @abstractmethod
    def replay(self, outputs: Any, level: int, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return what makes the model read a level where it reads its own.

        Args:
            outputs: of the vision tower, with all `hidden_states`.
            level: index of them.
            given: to `get_image_features`.

        Returns:
            the tower's outputs that the model shall see, and further arguments of `get_image_features`

        """

    def split(self, levels: Tensor, outputs: Any) -> list[Tensor]:
        """Split the levels of an item of `get_image_features` by image; it is one image mostly.

        Args:
            levels: [N, images · L, D].
            outputs: of the vision tower.

        Returns:
            Those of each image, [N, L, D] each.

        """
        del outputs
        return [levels]

    def part(self, name: Literal["all", "base", "tiles"]) -> slice:
        """Return the tokens of an image that take part.

        Raises:
            UserError: images have no tiles, or each tile is an image to the model.

        """
        if name != "all":
            raise UserError(f"{self.model_name} has no images in tiles: leave it out", key="part")
        return slice(None)

    def grid(self, part: Literal["all", "base", "tiles"]) -> TokenGrid | None:
        """Return how the tokens of an image lie; None where that differs from image to image."""
        del part
        return None

    def class_token(self, part: Literal["all", "base", "tiles"]) -> bool:
        """Return whether token 0 of an image is the vision tower's class token."""
        del part
        return False

    def project_per_level(self, levels: Sequence[int]) -> None:
        """Use the projector that the model has for each of these levels, in place of the one of its last state.

        Raises:
            UserError: it has none.

        """
        del levels
        raise UserError(f"{self.model_name} has one projector for all levels: leave it out", key="projections")

    @property
    def has_deepstack(self) -> bool:
        """Tell whether the model adds levels behind its first decoder layers by itself."""
        return False

    @property
    def model_name(self) -> str:
        """The name of the model's class."""
        return type(self.model).__name__

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


class LlavaParts(Parts):
    """LLaVA, LLaVA-NeXT, LLaVA-OneVision: a level of the tower, chosen by number, is projected and packed in tiles."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, "vision_tower", "language_model")
        read = model.config.vision_feature_layer
        if not isinstance(read, int):
            raise UserError(f"{self.model_name} projects levels {list(read)} as one: expected a model that reads one")

    def projector(self, level: int) -> nn.Module:
        """Return the one projector."""
        del level
        projector: nn.Module = self.body.multi_modal_projector
        return projector

    def replay(self, outputs: Any, level: int, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Choose the level by its number."""
        del given
        return copy.copy(outputs), {"vision_feature_layer": level}

    def part(self, name: Literal["all", "base", "tiles"]) -> slice:
        """Return the tokens in front of an image's tiles, those of tiles, or all."""
        if not self._has_tiles or name == "all":
            return super().part(name)
        base = self._side**2
        return slice(base) if name == "base" else slice(base, None)

    def grid(self, part: Literal["all", "base", "tiles"]) -> TokenGrid | None:
        """Return the grid of the whole image, where no tiles take part."""
        if self._has_tiles and part != "base":
            return None
        # "default" cuts one token off, the class token: registers stay
        registers = int(getattr(self.model.config.vision_config, "num_register_tokens", 0))
        return TokenGrid(self._side, self._side, prefix=int(self.class_token(part)) + registers)

    def class_token(self, part: Literal["all", "base", "tiles"]) -> bool:
        """Return whether it is kept, and no tile stands before it."""
        kept = self.model.config.vision_feature_select_strategy == "full" and has_class_token(self.tower)
        return kept and (part == "base" or not self._has_tiles)

    @property
    def _has_tiles(self) -> bool:
        return getattr(self.model.config, "image_grid_pinpoints", None) is not None

    @property
    def _side(self) -> int:
        vision = self.model.config.vision_config
        side: int = vision.image_size // vision.patch_size
        return side


class PixelShuffleParts(Parts):
    """Idefics3 and SmolVLM: the last state is normed, s × s patches become one token, and that is projected.

    Each tile of an image is an image of its own. `get_image_features` returns the images of a row as one.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model, "vision_model", "text_model")

    def projector(self, level: int) -> nn.Module:
        """Return the one connector, which shuffles and projects."""
        del level
        connector: nn.Module = self.body.connector
        return connector

    def replay(self, outputs: Any, level: int, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Put the level, normed as the last state is, in its place."""
        del given
        seen = copy.copy(outputs)
        seen.last_hidden_state = self.tower.post_layernorm(outputs.hidden_states[level])
        return seen, {}

    def split(self, levels: Tensor, outputs: Any) -> list[Tensor]:
        """Split the images of a row, of L tokens each."""
        length = outputs.last_hidden_state.shape[1] // self.body.connector.scale_factor**2
        return list(levels.unflatten(1, (levels.shape[1] // length, length)).unbind(1))


class PatchMergerParts(Parts):
    """Qwen2.5-VL and Qwen3-VL: a merger norms the last state, joins s × s patches to a token and projects it.

    Qwen3-VL's own DeepStack adds further levels, each through a merger of its own, behind the first decoder layers. A
    manager in front of a layer is given the state behind that.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model, "visual", "language_model")
        self.mergers: dict[int, nn.Module] = {}  #: by level, in place of the one of the last state

    @property
    def has_deepstack(self) -> bool:
        """Tell whether it is Qwen3-VL."""
        return hasattr(self.tower, "deepstack_merger_list")

    def projector(self, level: int) -> nn.Module:
        """Return the merger of the last state, or the level's own."""
        merger: nn.Module = self.mergers.get(level, self.tower.merger)
        return merger

    def replay(self, outputs: Any, level: int, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Put the level, merged, in the place of the merged last state."""
        seen = copy.copy(outputs)
        seen.pooler_output = self.projector(level)(outputs.hidden_states[level])
        if self.has_deepstack:
            seen.deepstack_features = []
        else:  # the tower has tokens in the order of its windows
            seen.pooler_output = seen.pooler_output[self._window_order(given["image_grid_thw"]).argsort()]
        return seen, {}

    def project_per_level(self, levels: Sequence[int]) -> None:
        """Use the mergers of the model's own DeepStack."""
        if not self.has_deepstack:
            super().project_per_level(levels)
        own = [block + 1 for block in self.tower.deepstack_visual_indexes]
        if missing := sorted({*levels} - {*own}):
            raise UserError(
                f"the model's DeepStack has mergers for levels {own}, none for {missing}: choose among these",
                key="levels",
            )
        self.mergers = dict(zip(own, self.tower.deepstack_merger_list, strict=True))

    def _window_order(self, grids: Tensor) -> Tensor:
        """Return which token stands at each place of the tower, of images of these grids [I, 3]."""
        from transformers.vision_utils import get_vision_window_index  # here: its import takes a second

        sizes = {name: getattr(self.tower, name) for name in ("spatial_merge_size", "window_size", "patch_size")}
        order: Tensor = get_vision_window_index(grids, **sizes)[0]
        return order


def has_class_token(vision: nn.Module) -> bool:
    """Tell whether the first token of a level is none of the image's patches."""
    names = [name.rpartition(".")[2] for name, _ in vision.named_parameters()]
    return any(name in ("cls_token", "class_embedding") for name in names)


FAMILIES: dict[str, type[PixelShuffleParts] | type[PatchMergerParts]] = {
    "idefics3": PixelShuffleParts,
    "smolvlm": PixelShuffleParts,
    "qwen2_5_vl": PatchMergerParts,
    "qwen3_vl": PatchMergerParts,
}  #: by `model_type`; those of LLaVA's family are known by how they encode images


def find_parts(model: Any) -> Parts:
    """Find the parts of a model.

    Raises:
        UserError: the model has no image token, or is of no known family.

    """
    name = type(model).__name__
    config: Any = getattr(model, "config", None)
    if getattr(config, "image_token_id", None) is None:
        raise UserError(f"{name} has no image token: expected an image-text-to-text model such as LLaVA's")
    body = getattr(model, "model", None)
    encode = getattr(body, "get_image_features", None)
    if encode is not None and hasattr(model, "lm_head"):
        if kind := FAMILIES.get(config.model_type):
            return kind(model)
        parts = all(hasattr(body, part) for part in ("vision_tower", "multi_modal_projector", "language_model"))
        if parts and "vision_feature_layer" in inspect.signature(encode).parameters:
            return LlavaParts(model)
    raise UserError(f"{name} is of another family: expected one of {KNOWN}, with its language-model head")
