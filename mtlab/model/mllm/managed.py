"""Managers around a transformers image-text-to-text model: vision levels enter its language model at chosen layers.

Shapes: B rows, T tokens of a row, I images in all rows, L tokens of an image, N levels, D width of the language model.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mtlab.config.nodes import lookup_options
from mtlab.config.options import option
from mtlab.errors import UserError, place_errors
from mtlab.managers.base import MANAGERS, Aggregated, Intervention, Manager, Place
from mtlab.managers.connectors.base import Connector
from mtlab.model.initial import initialise
from mtlab.model.mllm.levels import LevelEncoder
from mtlab.model.mllm.parts import Parts, find_parts
from mtlab.model.mllm.passing import Pass, Requests, begin_pass
from mtlab.model.mllm.tokens import image_spans, question_spans
from mtlab.seeding import derive
from mtlab.towers.loading.weights import seeded_init

INIT_STD = 0.02  #: deviation of managers' initial linear maps, as published


@dataclass(frozen=True, kw_only=True)
class Injection:
    """Where managers stand and what they draw on."""

    layers: tuple[int, ...] = option((0,), "decoder layers that a manager stands in front of, 0 at the bottom")
    levels: tuple[int, ...] = option(
        (-1,), "levels of the vision tower: 1 is behind its first block, -1 the top one, 0 its embeddings"
    )
    level_embeddings: bool = option(True, "add a learned vector to all tokens of a level (published)")
    part: Literal["all", "base", "tiles"] = option(
        "all", "the tokens of a tiled image that take part: all, those of the whole image made small, or of its tiles"
    )
    projections: Literal["shared", "per_level"] = option(
        "shared", "one projector for all levels: the model's; or the merger that Qwen3-VL's DeepStack has for each"
    )
    deepstack: bool = option(True, "keep the model's own DeepStack (Qwen3-VL)")


@dataclass(frozen=True)
class ManagedOutput:
    """The output of a forward pass."""

    output: Any  #: the transformers model's own: `logits`, `loss`, `cache`, …
    recorded: Mapping[int, Aggregated]  #: decoder layer → weights and contributions of its manager, where asked for
    auxiliary: Tensor | None  #: sum of the managers' auxiliary losses, weighted; None if there is none


class ManagedModel(nn.Module):
    """An image-text-to-text model of transformers with a manager in front of chosen layers of its language model.

    The model's class is not changed: hooks give each chosen decoder layer another input at image tokens. A call of
    `model` itself, its `generate` included, goes through the managers too. Each manager is given what it is given in a
    two-tower model (`managers/base.py`): levels as experts, through the model's own projector; its previous states, the
    last of which are the image tokens in front of its layer; and the states of the question's tokens as the other
    modality. In front of layer 0 there is no previous state: the model's own image tokens are the top expert there, in
    place of the top level. The depth of a place counts from there, whether a manager stands there or not. No manager is
    called behind the last layer: image tokens are read by nothing there.

    Args:
        model: of a family that `mllm/parts.py` names, by reference.
        manager: the manager node, `{name: …, options…}`.
        injection: layers and levels.
        seed: of initial values.

    Raises:
        UserError: the model is of another family, layers or levels do not exist, or the manager refuses its place.

    """

    def __init__(self, model: Any, manager: Mapping[str, Any], injection: Injection, *, seed: int = 0) -> None:
        super().__init__()
        parts = find_parts(model)
        if isinstance(parts.body.get_image_features, LevelEncoder):
            raise UserError("the model has managers already: load it again for others")
        self.model = model
        self.node = dict(manager)
        self.injection = injection
        self.layers = parts.check_layers(injection.layers)
        self.levels = parts.check_levels(injection.levels)
        self._part = parts.part(injection.part)
        if injection.projections == "per_level":
            parts.project_per_level(self.levels)
        if not (injection.deepstack or parts.has_deepstack):
            raise UserError(f"{parts.model_name} has none of its own: leave it out", key="deepstack")
        with seeded_init(derive(seed, "construct")):  # some managers draw values in their constructor
            self.managers = nn.ModuleDict(_build(manager, self._places(parts)))
        self.level_embeddings = nn.Parameter(torch.empty(len(self.levels), parts.width))
        if not injection.level_embeddings:
            self.register_parameter("level_embeddings", None)
        self._initialise(seed)
        self.image_token, self.video_token = parts.image_token, parts.video_token
        self._encoder = LevelEncoder(parts, self.levels, self._read_level_embeddings)
        self._requests: Requests | None = None
        self._text: tuple[Tensor | None, ...] = (None, None, None)  # ids, attention mask and labels of this pass
        self._pass: Pass | None = None
        self._arguments = inspect.signature(model.forward)
        self._register_hooks(parts)

    def forward(
        self,
        *args: Any,
        question: Tensor | None = None,
        noise: Mapping[int, Tensor] | None = None,
        intervene: Mapping[int, Intervention] | None = None,
        record: bool = False,
        **kwargs: Any,
    ) -> ManagedOutput:
        """Run the model.

        Args:
            args: of the transformers model.
            question: True at the tokens that managers may ask with, [B, T']; what comes after T' are none. Default: all
                real text before the row's first target, which `labels` name.
            noise: decoder layer → its manager's training noise, see `draw_noise`.
            intervene: decoder layer → maps its manager's weights to those used instead.
            record: also return weights and contributions.
            kwargs: of the transformers model.

        """
        with self._asked(Requests(question, noise or {}, intervene or {}, record)) as requests:
            output = self.model(*args, **kwargs)
        loss = functools.reduce(torch.add, requests.auxiliary) if requests.auxiliary else None
        return ManagedOutput(output, requests.recorded, loss)

    def generate(self, input_ids: Tensor, *, question: Tensor | None = None, **kwargs: Any) -> Any:
        """Generate as the model does. Managers ask with the prompt alone, in every step: cached or not, the same.

        Args:
            input_ids: the prompt with its image tokens, [B, T].
            question: True at the tokens that managers may ask with, [B, T]; default: all real text of the prompt.
            kwargs: of the transformers model's `generate`: pixels, `attention_mask` [B, T], `max_new_tokens`, …

        Returns:
            What that returns: ids with the prompt, [B · sequences, T + new], or an output with `sequences`.

        """
        if question is None:
            question = self._tokens(input_ids, kwargs.get("attention_mask"), None)[1]
        with self._asked(Requests(question, copied=True)):
            return self.model.generate(input_ids=input_ids, **kwargs)

    def manager(self, layer: int) -> Manager:
        """Return the manager in front of a decoder layer."""
        manager = self.managers[str(layer)]
        assert isinstance(manager, Manager)
        return manager

    def draw_noise(self, images: int, length: int, seed: int) -> dict[int, Tensor]:
        """Draw the training noise of all managers that ask for some, by decoder layer.

        Args:
            images: I, of the batch.
            length: L, the largest number of tokens of an image.
            seed: of this step.

        Returns:
            Decoder layer → noise of its manager's `noise_shape` for I images of L tokens, on the model's device.

        """
        noisy = {layer: manager for layer in self.layers if (manager := self.manager(layer)).noise_scale}
        generators = {layer: torch.Generator().manual_seed(derive(seed, "noise", str(layer))) for layer in noisy}
        device = self.model.device
        return {layer: each.draw_noise(images, length, generators[layer]).to(device) for layer, each in noisy.items()}

    def _places(self, parts: Parts) -> dict[int, Place]:
        stack, part = sorted({0, *self.layers}), self.injection.part
        grid, token = parts.grid(part), parts.class_token(part)
        places = {
            layer: Place(parts.width, len(self.levels), depth, len(stack), "image", 1, token, grid=grid)
            for depth, layer in enumerate(stack)
        }
        return {layer: places[layer] for layer in self.layers}

    def _initialise(self, seed: int) -> None:
        initialise(self.managers, seed, "managers", std=INIT_STD)
        weight = self.model.get_input_embeddings().weight
        if self.level_embeddings is not None:
            generator = torch.Generator().manual_seed(derive(seed, "init", "level_embeddings"))
            drawn = torch.randn(self.level_embeddings.shape, generator=generator)
            self.level_embeddings.data = (drawn / math.sqrt(drawn.shape[1])).to(weight)
        self.managers.to(device=weight.device, dtype=weight.dtype)

    def _register_hooks(self, parts: Parts) -> None:
        parts.model.register_forward_pre_hook(self._before_model, with_kwargs=True)
        parts.model.register_forward_hook(self._after_model, always_call=True)
        parts.language_model.register_forward_pre_hook(self._before_language_model, with_kwargs=True)
        for layer in self.layers:
            hook = functools.partial(self._before_layer, layer)
            parts.layers[layer].register_forward_pre_hook(hook, with_kwargs=True)

    def _before_model(self, _model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note what the language model is not told: the text, and images that were encoded before, as by `generate`."""
        given = self._arguments.bind_partial(*args, **kwargs).arguments
        given |= given.get("kwargs", {})
        encoded = (given.get("mm_encoder_outputs") or {}).get("image")
        self._encoder.encoded = None if encoded is None else list(encoded.pooler_output)
        self._text = (given.get("input_ids"), given.get("attention_mask"), given.get("labels"))

    def _before_language_model(
        self, _model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Begin a pass, unless there are no images, as in the later steps of cached generation."""
        self._pass, encoded = None, self._encoder.encoded
        if not self.injection.deepstack:
            kwargs = {**kwargs, "deepstack_visual_embeds": None}
        if encoded is None:
            return args, kwargs
        ids, attention_mask, labels = self._text
        if ids is None:
            raise UserError("managers need `input_ids`: image tokens cannot be found in `inputs_embeds`")
        is_image, is_question = self._tokens(ids, attention_mask, labels)
        levels = self._encoder.levels_of(encoded)
        images = image_spans(is_image, [each.shape[1] for each in levels])
        requests = self._requests or Requests()
        question = question_spans(_fit(requests, is_question), images)
        embedded = kwargs["inputs_embeds"]
        self._pass = begin_pass(embedded, levels, images, question, requests, part=self._part)
        return args, kwargs

    def _before_layer(
        self, layer: int, _layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Give the layer other states at image tokens, as a new tensor."""
        if self._pass is None:
            return None
        named = not args
        hidden = kwargs["hidden_states"] if named else args[0]
        hidden = self._pass.inject(self.manager(layer), layer, hidden)
        return ((), {**kwargs, "hidden_states": hidden}) if named else ((hidden, *args[1:]), kwargs)

    def _after_model(self, *_: Any) -> None:
        self._pass, self._encoder.encoded, self._text = None, None, (None, None, None)

    def _read_level_embeddings(self) -> Tensor | None:
        return self.level_embeddings

    def _tokens(self, ids: Tensor, attention_mask: Any, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return which tokens are of images, and which of the question, [B, T] each."""
        is_image = ids == self.image_token
        is_question = ~is_image if self.video_token is None else ~is_image & (ids != self.video_token)
        if isinstance(attention_mask, Tensor) and attention_mask.ndim == 2:
            is_question = is_question & attention_mask[:, -ids.shape[1] :].bool()
        if labels is not None:  # a later turn would tell what the answers before it are
            is_question = is_question & ((labels != -100).cumsum(1) == 0)
        return is_image, is_question

    @contextmanager
    def _asked(self, requests: Requests) -> Iterator[Requests]:
        before, self._requests = self._requests, requests
        try:
            yield requests
        finally:
            self._requests = before


def _fit(requests: Requests, default: Tensor) -> Tensor:
    """Give a question mask [B, T'] the batch's rows and its length T: tokens after it are no question."""
    question = requests.question
    if question is None:
        return default
    if requests.copied and len(question) and not len(default) % len(question):
        question = question.repeat_interleave(len(default) // len(question), 0)
    if question.ndim != 2 or len(question) != len(default) or question.shape[1] > default.shape[1]:
        shapes = f"{tuple(question.shape)} for tokens {tuple(default.shape)}"
        raise UserError(f"the question's mask has shape {shapes}: expected a row for each row of tokens")
    return nn.functional.pad(question.bool(), (0, default.shape[1] - question.shape[1]))


def _build(node: Mapping[str, Any], places: Mapping[int, Place]) -> dict[str, Manager]:
    """Build the manager of each place, by decoder layer."""
    entry, config = lookup_options(MANAGERS, node, "manager")
    if issubclass(entry.cls, Connector) and 0 not in places:
        raise UserError(f"{entry.name} joins levels in front of layer 0 alone: add it to the layers", key="layers")
    built = {}
    for layer, place in places.items():
        with place_errors(key="manager"):
            entry.cls.check(config, place)
        built[str(layer)] = entry.cls(config, place)
    return built
