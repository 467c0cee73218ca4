"""The levels of a vision tower through the model's own projector, packed as the model packs its image tokens.

Shapes: N levels, L tokens of an image, D width of the language model.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from mtlab.errors import UserError
from mtlab.model.mllm.parts import Parts


class LevelEncoder:
    """Makes a model project further levels whenever it encodes images: the tower runs once.

    The model's own `get_image_features` selects a level of the tower, projects it and packs it (tiles, newlines). It is
    called once more for each level, with the tower's outputs of the first call. What comes out goes with the image
    tokens, however these reach the language model: `generate` encodes images before its first forward pass, and
    repeats them for beams.

    Args:
        parts: the model; its body's `get_image_features` is wrapped.
        levels: of the tower, as indices of its `hidden_states`.
        embeddings: returns what is added to all projected tokens of each level, [N, D]; not to newlines.

    """

    def __init__(self, parts: Parts, levels: Sequence[int], embeddings: Callable[[], Tensor | None]) -> None:
        self.parts = parts
        self.levels = tuple(levels)
        self.embeddings = embeddings
        self.encoded: Sequence[Tensor] | None = None  #: image tokens [L, D] of the images encoded last
        if isinstance(parts.body.get_image_features, LevelEncoder):
            raise UserError("the model has managers already: load it again for others")
        self._levels_of = WeakTensorKeyDictionary()  # image tokens [L, D] → their levels [N, L, D]
        self._encode = parts.body.get_image_features
        self.__signature__ = inspect.signature(self._encode)  # `generate` asks what to give to it
        parts.body.get_image_features = self

    def levels_of(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return the levels [N, L, D] of each of these image tokens [L, D].

        Raises:
            UserError: some are no output of the model's `get_image_features`, as they were cut or copied.

        """
        found = [self._levels_of.get(image) for image in images]
        if any(levels is None for levels in found):
            raise UserError(
                "image tokens without levels: they were not encoded by this model, or cut by chunked prefill"
            )
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Encode images as the model does, and keep their levels."""
        seen: list[Any] = []
        with _all_levels(self.parts.tower, seen):
            result = self._encode(*args, **kwargs)
        (outputs,) = seen
        given = self.__signature__.bind(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        given.pop("vision_feature_layer", None)
        with _replayed(self.parts.tower, outputs):
            packed = [self._encode_level(number, given) for number in range(len(self.levels))]
        result.pooler_output = list(result.pooler_output)  # one tensor for each image, kept as it is
        for image, *levels in zip(result.pooler_output, *packed, strict=True):
            self._levels_of[image] = torch.stack(levels)
        self.encoded = result.pooler_output
        return result

    def _encode_level(self, number: int, given: Mapping[str, Any]) -> Sequence[Tensor]:
        """Return a level of each image, [L, D] each."""
        embeddings = self.embeddings()
        with ExitStack() as stack:
            if embeddings is not None:
                added = embeddings[number]
                hook = self.parts.projector.register_forward_hook(lambda _module, _args, out: out + added.to(out.dtype))
                stack.callback(hook.remove)
            result: Sequence[Tensor] = self._encode(**given, vision_feature_layer=self.levels[number]).pooler_output
        return result


@contextmanager
def _all_levels(tower: nn.Module, seen: list[Any]) -> Iterator[None]:
    """Let the tower return all levels, and note what it returns."""
    before = tower.register_forward_pre_hook(
        lambda _, args, kwargs: (args, {**kwargs, "output_hidden_states": True}), with_kwargs=True
    )
    after = tower.register_forward_hook(lambda _module, _args, outputs: seen.append(outputs))
    try:
        yield
    finally:
        before.remove()
        after.remove()


@contextmanager
def _replayed(tower: nn.Module, outputs: Any) -> Iterator[None]:
    """Let the tower return these outputs, whatever it is given."""
    own = tower.__dict__.get("forward")  # a module's own attribute stands before its class's
    tower.forward = lambda *_args, **_kwargs: copy.copy(outputs)  # the model writes image tokens into it
    try:
        yield
    finally:
        del tower.forward
        if own is not None:
            tower.forward = own
