"""The levels of a vision tower through the model's own projector, packed as the model packs its image tokens.

Shapes: N levels, L tokens of an image, T of all images that the model returns as one item, D width of the language
model.
"""

from __future__ import annotations

import copy
import functools
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

    The model's own `get_image_features` reads the state of its tower, projects it and packs it (tiles, newlines). It is
    called once more for each level, with the tower's outputs of the first call. What comes out goes with the image
    tokens, however these reach the language model: `generate` encodes images before its first forward pass, and
    repeats them for beams. Videos are encoded as the model does it.

    Args:
        parts: the model; its body's `get_image_features` is wrapped.
        levels: of the tower, as indices of its `hidden_states`.
        embeddings: returns what is added to all projected tokens of each level, [N, D]; not to newlines.

    """

    def __init__(self, parts: Parts, levels: Sequence[int], embeddings: Callable[[], Tensor | None]) -> None:
        self.parts = parts
        self.levels = tuple(levels)
        self.embeddings = embeddings
        self.encoded: Sequence[Tensor] | None = None  #: image tokens [T, D] of the items encoded last
        self._levels_of = WeakTensorKeyDictionary()  # image tokens [T, D] → levels [N, L, D] of each image in them
        self._encode = parts.body.get_image_features
        self.__signature__ = inspect.signature(self._encode)  # `generate` asks what to give to it
        self._encodes_video = False
        parts.body.get_image_features = self
        if video := getattr(parts.body, "get_video_features", None):
            encode_video = functools.partial(self._encode_video, video)
            encode_video.__signature__ = inspect.signature(video)  # type: ignore[attr-defined]
            parts.body.get_video_features = encode_video

    def levels_of(self, items: Sequence[Tensor]) -> list[Tensor]:
        """Return the levels [N, L, D] of each image in these items of image tokens [T, D].

        Raises:
            UserError: some are no output of the model's `get_image_features`, as they were cut or copied.

        """
        found = [self._levels_of.get(item) for item in items]
        if any(levels is None for levels in found):
            raise UserError(
                "image tokens without levels: they were not encoded by this model, or cut by chunked prefill"
            )
        return [levels for images in found for levels in images]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Encode images as the model does, and keep their levels."""
        if self._encodes_video:
            return self._encode(*args, **kwargs)
        seen: list[Any] = []
        as_tuple = kwargs.get("return_dict") is False
        kwargs["return_dict"] = True
        with _all_levels(self.parts.tower, seen):
            result = self._encode(*args, **kwargs)
        (outputs,) = seen
        given = self.__signature__.bind(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        packed = [self._encode_level(number, outputs, given) for number in range(len(self.levels))]
        result.pooler_output = list(result.pooler_output)  # items kept as they are
        for item, *levels in zip(result.pooler_output, *packed, strict=True):
            self._levels_of[item] = self.parts.split(torch.stack(levels), outputs)
        self.encoded = result.pooler_output
        return result.to_tuple() if as_tuple else result

    def _encode_video(self, encode: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Encode videos, which some models do by `get_image_features`."""
        self._encodes_video = True
        try:
            return encode(*args, **kwargs)
        finally:
            self._encodes_video = False

    def _encode_level(self, number: int, outputs: Any, given: Mapping[str, Any]) -> Sequence[Tensor]:
        """Return a level of each item, [T, D] each."""
        level, embeddings = self.levels[number], self.embeddings()
        with ExitStack() as stack:
            if embeddings is not None:
                added = embeddings[number]
                hook = self.parts.projector(level).register_forward_hook(
                    lambda _module, _args, out: out + added.to(out.dtype)
                )
                stack.callback(hook.remove)
            replayed, chosen = self.parts.replay(outputs, level, given)
            stack.enter_context(_replayed(self.parts.tower, replayed))
            result: Sequence[Tensor] = self._encode(**{**given, **chosen}).pooler_output
        return result


@contextmanager
def _all_levels(tower: nn.Module, seen: list[Any]) -> Iterator[None]:
    """Let the tower return all levels, and note what it returns before the model writes into it."""
    before = tower.register_forward_pre_hook(
        lambda _, args, kwargs: (args, {**kwargs, "output_hidden_states": True}), with_kwargs=True
    )
    after = tower.register_forward_hook(lambda _module, _args, outputs: seen.append(copy.copy(outputs)))
    try:
        yield
    finally:
        before.remove()
        after.remove()


@contextmanager
def _replayed(tower: nn.Module, outputs: Any) -> Iterator[None]:
    """Let the tower return these outputs, whatever it is given."""
    own = tower.__dict__.get("forward")  # a module's own attribute stands before its class's
    tower.forward = lambda *_args, **_kwargs: outputs
    try:
        yield
    finally:
        del tower.forward
        if own is not None:
            tower.forward = own
