"""The cross-modal encoder: projections, managers, cross-modal layers, poolers; one fusion loop that every task uses.

Shapes: B examples, L text tokens, M image tokens, N experts, D width of the cross-modal layers, K their number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mtlab.config.nodes import lookup_options
from mtlab.config.schema import ModelConfig
from mtlab.errors import UserError
from mtlab.managers.base import (
    MANAGERS,
    MODALITIES,
    Aggregated,
    Experts,
    Inputs,
    Intervention,
    Manager,
    Modality,
    Place,
)
from mtlab.model.layers import CrossModalLayer, Pooler
from mtlab.model.projection import Embeddings, Projections, gated, project
from mtlab.towers.base import Features, TowerShape

Key = tuple[Modality, int]  #: one manager: its modality, and the number of cross-modal layers below it


@dataclass(frozen=True)
class Fused:
    """What the cross-modal encoder makes of a text and an image."""

    text: Tensor  #: [B, L, D]
    image: Tensor  #: [B, M, D]
    pooled: Tensor  #: [B, 2D], text before image
    recorded: Mapping[Key, Aggregated] | None = None  #: weights and contributions of every manager, if asked for
    auxiliary: Tensor | None = None  #: sum of the managers' auxiliary losses, weighted; None if there is none


def places(model: ModelConfig, modality: Modality, shape: TowerShape) -> Iterator[Place]:
    """Go through the places of a modality's managers, lowest first."""
    for depth in range(model.cross_layers):
        yield Place(model.width, len(shape.levels), depth, model.cross_layers, modality)


def pairing(model: ModelConfig, node: Mapping[str, Any], text: TowerShape, vision: TowerShape) -> dict[Key, list[int]]:
    """Say which levels of its tower (1-based) each manager reads; nothing is built.

    Raises:
        UserError: unknown manager or option, wrong type, value out of range; or the manager refuses its place, as a
            bridge that names an expert not on offer.

    """
    entry, config = lookup_options(MANAGERS, node, "manager")
    read: dict[Key, list[int]] = {}
    for modality, shape in zip(MODALITIES, (text, vision), strict=True):
        for place in places(model, modality, shape):
            try:
                entry.cls.check(config, place)
            except UserError as error:
                raise error.at(key="manager") from None
            read[modality, place.depth] = [shape.levels[expert - 1] for expert in entry.cls.experts_used(config, place)]
    return read


class Stream(nn.Module):
    """All that one modality owns: its gate, projections, embeddings, managers, cross-modal layers and pooler.

    Args:
        model: the encoder's options.
        manager: the manager node, `{name: …, options…}`.
        modality: "text" or "image".
        shape: what the modality's tower offers.
        kinds: inputs that are told apart by a token type of their own, such as the two pictures of a pair.

    """

    def __init__(
        self,
        model: ModelConfig,
        manager: Mapping[str, Any],
        modality: Modality,
        shape: TowerShape,
        kinds: int = 1,
    ) -> None:
        super().__init__()
        entry, config = lookup_options(MANAGERS, manager, "manager")
        where = list(places(model, modality, shape))
        used = {expert for place in where for expert in entry.cls.experts_used(config, place)} or {len(shape.levels)}
        self.shape = shape
        self.gate = nn.Linear(shape.widths[-1], shape.widths[-1]) if shape.gate else None
        self.projections = Projections(shape, model.width, used)
        self.embeddings = Embeddings(shape, model.width, layers=model.layer_embeddings, kinds=kinds)
        self.managers = nn.ModuleList(entry.cls(config, place) for place in where)
        self.layers = nn.ModuleList(
            CrossModalLayer(model.width, model.heads, model.mlp_ratio, model.dropout, model.norm_eps) for _ in where
        )
        self.pooler = Pooler(model.width, shape.class_token)

    def experts(self, features: Features, kind: int = 0) -> Experts:
        """Gate and project the tower's levels, see `project`."""
        return project(self.gated(features), self.projections, self.embeddings, kind)

    def gated(self, features: Features) -> Features:
        """Pass the levels through the gate, if there is one."""
        return features if self.gate is None else gated(features, self.gate)


class CrossModalEncoder(nn.Module):
    """Fuses what two towers offer: a manager and a cross-modal layer per modality and depth, then a pooler.

    Args:
        model: the encoder's options.
        manager: the manager node, `{name: …, options…}`.
        text: what the text tower offers.
        vision: what the vision tower offers; widths, depths and numbers of levels may all differ from the text's.
        pictures: images that one text goes with; each has a token type of its own.

    Attributes:
        recompute: run each cross-modal layer anew in the backward pass rather than keep what it computed.

    Raises:
        UserError: the manager is unknown, its options are wrong, or it cannot stand where it is put.

    """

    def __init__(
        self,
        model: ModelConfig,
        manager: Mapping[str, Any],
        text: TowerShape,
        vision: TowerShape,
        images: int = 1,
    ) -> None:
        super().__init__()
        pairing(model, manager, text, vision)
        self.config = model
        self.recompute = False
        self.text = Stream(model, manager, "text", text)
        self.image = Stream(model, manager, "image", vision, kinds=images)

    def forward(
        self,
        text: Features | Experts,
        vision: Features | Experts,
        *,
        image_index: int = 0,
        noise: Mapping[Key, Tensor] | None = None,
        intervene: Mapping[Key, Intervention] | None = None,
        record: bool = False,
    ) -> Fused:
        """Fuse.

        Args:
            text: the text tower's offered levels, each [B, L, D_n], and their mask; or what `experts` makes of them.
            vision: the vision tower's, each [B, M, D_n]; likewise.
            image_index: which of the images that a text goes with these are, from 0.
            noise: what is added to managers' scores in training, each [B, N, L, D]; see `draw_noise`.
            intervene: what is done to managers' weights.
            record: also return weights and contributions of every manager.

        """
        noise, intervene = noise or {}, intervene or {}
        recorded: dict[Key, Aggregated] = {}
        auxiliary: list[Tensor] = []
        experts: dict[Modality, Experts] = {
            "text": text if isinstance(text, Experts) else self.text.experts(text),
            "image": vision if isinstance(vision, Experts) else self.image.experts(vision, image_index),
        }
        history: dict[Modality, list[Tensor]] = {"text": [], "image": []}
        for depth in range(self.config.cross_layers):
            hidden: dict[Modality, Tensor] = {}
            for own, other in _PAIRS:
                inputs = Inputs(
                    experts[own],
                    experts[other],
                    tuple(history[own]),
                    history[other][-1] if depth else None,
                    experts[other].mask if depth else None,
                    noise.get((own, depth)),
                )
                manager = self._stream(own).managers[depth]
                result: Aggregated = manager(inputs, intervene=intervene.get((own, depth)), record=record)
                hidden[own] = result.hidden
                if result.auxiliary is not None:
                    auxiliary.append(result.auxiliary)
                if record:
                    recorded[own, depth] = result
            for own, other in _PAIRS:
                layer, masks = self.layer(own, depth), (experts[own].mask, experts[other].mask)
                history[own].append(self._run(layer, hidden[own], hidden[other], *masks))
        out = {m: history[m][-1] if history[m] else experts[m].states[:, -1] for m in MODALITIES}
        pooled = torch.cat([self._stream(m).pooler(out[m], experts[m].mask) for m in MODALITIES], -1)
        loss = functools.reduce(torch.add, auxiliary) if auxiliary else None
        return Fused(out["text"], out["image"], pooled, recorded if record else None, loss)

    def experts(self, modality: Modality, features: Features) -> Experts:
        """Gate and project a tower's levels once, for several fusions."""
        return self._stream(modality).experts(features)

    def calibrate(self, text: Features, vision: Features) -> None:
        """Standardise the channels of both towers' levels by a sample of the training data, see `Projections`."""
        self.text.projections.calibrate(self.text.gated(text))
        self.image.projections.calibrate(self.image.gated(vision))

    def noise_shapes(
        self, text: Features | Experts, vision: Features | Experts
    ) -> dict[Key, tuple[tuple[int, int, int, int], float]]:
        """Give shape [B, N, L, D] and standard deviation of the noise of each manager that wants some.

        Where a text goes with several images, B counts images: each is fused with the text anew.
        """
        found: dict[Key, tuple[tuple[int, int, int, int], float]] = {}
        batch = _size(vision)[0]
        for modality, given in zip(MODALITIES, (text, vision), strict=True):
            _, experts, length = _size(given)
            for depth, manager in enumerate(self._stream(modality).managers):
                assert isinstance(manager, Manager)
                if manager.noise_scale:
                    shape = (batch, experts, length, self.config.width)
                    found[modality, depth] = (shape, manager.noise_scale)
        return found

    def managers(self) -> Iterator[tuple[Key, Manager]]:
        """Go through all managers with their places."""
        for modality in MODALITIES:
            for depth, manager in enumerate(self._stream(modality).managers):
                assert isinstance(manager, Manager)
                yield (modality, depth), manager

    def layer(self, modality: Modality, depth: int) -> CrossModalLayer:
        """Return the cross-modal layer of a modality with `depth` layers below it."""
        found = self._stream(modality).layers[depth]
        assert isinstance(found, CrossModalLayer)
        return found

    def layer_weights(self) -> set[str]:
        """Name the parameters that weigh layers: they train in a group of their own."""
        return {
            f"{modality}.managers.{depth}.{name}"
            for (modality, depth), manager in self.managers()
            for name, _ in manager.named_parameters()
            if name in manager.layer_weights
        }

    def _run(self, layer: Callable[..., Tensor], *given: Tensor | None) -> Tensor:
        if not self.recompute or not torch.is_grad_enabled():
            return layer(*given)
        out: Tensor = checkpoint(layer, *given, use_reentrant=False)
        return out

    def _stream(self, modality: Modality) -> Stream:
        return self.text if modality == "text" else self.image


_PAIRS: tuple[tuple[Modality, Modality], ...] = (("text", "image"), ("image", "text"))


def _size(given: Features | Experts) -> tuple[int, int, int]:
    """Tell examples, experts and tokens: B, N, L."""
    if isinstance(given, Experts):
        batch, experts, length, _ = given.states.shape
        return batch, experts, length
    return given.levels[0].shape[0], len(given.levels), given.levels[0].shape[1]


def draw_noise(
    encoder: CrossModalEncoder,
    text: Features | Experts,
    vision: Features | Experts,
    generator_for: Callable[[Modality, int], torch.Generator],
) -> dict[Key, Tensor]:
    """Draw the training noise, outside of compiled regions: normal, [B, N, L, D] for each manager that wants some.

    Args:
        encoder: whose managers it is for.
        text: the batch's text levels or experts, for their sizes and device.
        vision: the batch's image levels or experts.
        generator_for: gives the generator of a modality and depth; noise is drawn on its device, then moved.

    """
    noise, device = {}, (text.states if isinstance(text, Experts) else text.levels[0]).device
    for (modality, depth), (shape, scale) in encoder.noise_shapes(text, vision).items():
        generator = generator_for(modality, depth)
        drawn = torch.randn(shape, generator=generator, device=generator.device)
        noise[modality, depth] = (drawn * scale).to(device)
    return noise
